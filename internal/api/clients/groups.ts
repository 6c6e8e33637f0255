// Groups, jobs after others, counts, retries and bulk requests, by openapi-fetch.
import assert from 'node:assert/strict'
import type { Client } from 'openapi-fetch'
import type { components, paths } from './schema.js'

const wait = { Prefer: 'wait=20' }
const prompt = { header: wait }

/** Submits a batch whose second job waits for the first, and counts, reads, lists and deletes its group. */
export async function groups(client: Client<paths>) {
  const group_id = 'clients-typescript'
  const squares: components['schemas']['JobSubmission'] = { kind: 'squares', numbers: [3] }
  const body: components['schemas']['BatchSubmission'] = { group: group_id, jobs: [squares, { ...squares, after: [0] }] }
  const preview = await client.POST('/v1/jobs:batch', { params: { query: { validate_only: true } }, body })
  assert(preview.data?.jobs.length === 2 && 'tasks' in preview.data.jobs[1]!, JSON.stringify(preview))

  const count = async () => (await client.GET('/v1/jobs:count', { params: { query: { kind: ['squares'] } } })).data!
  const before = await count()
  const { data: batch, error } = await client.POST('/v1/jobs:batch', { params: prompt, body })
  assert(batch, JSON.stringify(error))
  const [first, second] = batch.jobs
  assert(first && second && 'state' in second, JSON.stringify(batch))
  assert.deepEqual([second.state, second.after, second.group], ['succeeded', ['id' in first && first.id], group_id])
  assert.equal((await count()).succeeded, before.succeeded + 2)

  const path = { group_id }
  const { data: group } = await client.GET('/v1/groups/{group_id}', { params: { path, ...prompt } })
  assert.deepEqual([group?.jobs.total, group?.jobs.succeeded, group?.progress.fraction], [2, 2, 1])
  const { data: list } = await client.GET('/v1/groups')
  assert(list?.groups.some((g) => g.id === group_id && g.finished_at), JSON.stringify(list))
  const { data: deleted } = await client.DELETE('/v1/groups/{group_id}', { params: { path } })
  assert.deepEqual(deleted, { matched: 2, changed: 2, next_page_token: null })
  console.log(`openapi-fetch: group: ${group?.jobs.succeeded} of ${group?.jobs.total}`)
}

/** Retries the one of two requests that fails, and deletes both jobs by their label. */
export async function retries(client: Client<paths>, server: string) {
  const { data: job, error } = await client.POST('/v1/jobs', {
    params: prompt,
    body: { kind: 'http_batch', requests: [{ url: `${server}/livez` }, { url: `${server}/v1/jobs/none` }], labels: { client: 'retry' } },
  })
  assert(job && 'state' in job, JSON.stringify(error))
  assert.equal(job.outcome, 'some_failed')
  const { data: retry } = await client.POST('/v1/jobs/{job_id}/retry', { params: { path: { job_id: job.id } } })
  assert(retry)
  assert.deepEqual([retry.retry_of, retry.progress.total], [job.id, 1])
  const { data: ended } = await client.GET('/v1/jobs/{job_id}', { params: { path: { job_id: retry.id }, ...prompt } })
  assert.equal(ended?.outcome, 'all_failed')

  const matching = { label: ['client:retry'], state: ['succeeded' as const, 'failed' as const] }
  for (const validate_only of [true, false]) {
    const { data } = await client.POST('/v1/jobs:delete', { params: { query: { ...matching, validate_only } } })
    assert.deepEqual(data, { matched: 2, changed: validate_only ? 0 : 2, next_page_token: null })
  }
  console.log(`openapi-fetch: retry: ${ended.outcome}, deleted 2`)
}
