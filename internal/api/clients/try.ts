// The TypeScript clients that openapi-typescript (with openapi-fetch) and @hey-api/openapi-ts generate from openapi.yaml,
// in use: a job of each kind, a rejected one, and everything of groups.ts and schedules.ts. The gate generates schema.ts and heyapi/ beside this file, compiles
// everything and runs it against a server, whose URL is the argument.
import assert from 'node:assert/strict'
import createClient from 'openapi-fetch'
import { createClient as createHeyClient } from './heyapi/client/index.js'
import * as hey from './heyapi/index.js'
import { groups, retries } from './groups.js'
import { pauses, schedules } from './schedules.js'
import type { components, paths } from './schema.js'

const baseUrl = process.argv[2]!
const wait = { Prefer: 'wait=20' }
const rejected: components['schemas']['JobSubmission'] = { kind: 'sleep_batch', count: -1 }

const jobs: { body: components['schemas']['JobSubmission']; result: unknown; items?: unknown[] }[] = [
  { body: { kind: 'sleep_batch', count: 3, duration: '10ms', priority: 'high', labels: { client: 'typescript' } }, result: 3 },
  { body: { kind: 'squares', numbers: [3, 2.5, '-5'] }, result: 3, items: [9, 6.25, 25] },
  { body: { kind: 'array_sum', array: { source: 'arange', shape: [100], chunks: 30 } }, result: 4950 },
  {
    body: { kind: 'array_reduce', ops: ['mean', 'argmax'], array: { source: 'arange', shape: [100], chunks: 30 } },
    result: { mean: 49.5, argmax: 99 },
  },
]

async function withOpenapiFetch() {
  const client = createClient<paths>({ baseUrl })
  for (const { body, result, items } of jobs) {
    const { data: job, error } = await client.POST('/v1/jobs', { params: { header: wait }, body })
    assert(job && 'state' in job, JSON.stringify(error)) // not a preview
    assert.deepEqual([job.state, job.result], ['succeeded', result])
    const page = await client.GET('/v1/jobs/{job_id}/results', {
      params: { path: { job_id: job.id }, query: { order: 'index' } },
    })
    assert(typeof page.data === 'object' && 'items' in page.data) // neither of the other media types
    const values = page.data.items.map((item) => item.value)
    if (items) assert.deepEqual(values, items)
    console.log(`openapi-fetch: ${job.kind}: result ${job.result}, items ${values}`)
  }
  const preview = await client.POST('/v1/jobs', { params: { query: { validate_only: true } }, body: jobs[1]!.body })
  assert(preview.data && 'tasks' in preview.data && preview.data.items === 3, JSON.stringify(preview.error))
  const { response, error } = await client.POST('/v1/jobs', { body: rejected })
  assert.deepEqual([response.status, error?.errors?.[0]?.pointer], [422, '/count'])
  await groups(client)
  await retries(client, baseUrl)
}

async function withHeyAPI() {
  const client = createHeyClient({ baseUrl })
  for (const { body, result, items } of jobs) {
    const { data: job, error } = await hey.submitJob({ client, headers: wait, body })
    assert(job && 'state' in job, JSON.stringify(error)) // not a preview
    assert.deepEqual([job.state, job.result], ['succeeded', result])
    const page = await hey.getJobResults({ client, path: { job_id: job.id }, query: { order: 'index' } })
    const values = page.data?.items.map((item) => item.value)
    if (items) assert.deepEqual(values, items)
    console.log(`hey-api: ${job.kind}: result ${job.result}, items ${values}`)
  }
  const { response, error } = await hey.submitJob({ client, body: rejected })
  assert.deepEqual([response?.status, error?.errors?.[0]?.pointer], [422, '/count'])
  await schedules(client)
  await pauses(client)
}

await withOpenapiFetch()
await withHeyAPI()
