// Schedules, pauses and bulk requests, by @hey-api/openapi-ts.
import assert from 'node:assert/strict'
import type { Client } from './heyapi/client/index.js'
import * as hey from './heyapi/index.js'

const headers = { Prefer: 'wait=20' }

/** Creates a schedule, runs it now, pauses and resumes it, and reads its history. */
export async function schedules(client: Client) {
  const path = { schedule_name: 'clients-typescript' }
  const { data: schedule, error } = await hey.putSchedule({
    client, path,
    body: { every: '1h', overlap: 'replace', catch_up: { runs: 3, within: '2h' }, submission: { kind: 'squares', numbers: [3] } },
  })
  assert.deepEqual([schedule?.kind, schedule?.every, schedule?.last_run], ['squares', '1h0m0s', null], JSON.stringify(error))
  const { data: run } = await hey.runSchedule({ client, path })
  assert(run)
  const { data: job } = await hey.getJob({ client, path: { job_id: run.id }, headers })
  assert.deepEqual([job?.state, job?.labels], ['succeeded', { schedule: path.schedule_name }])
  const { data: history } = await hey.listScheduleRuns({ client, path })
  assert.deepEqual(history?.runs.map((r) => [r.outcome, r.manual, r.job_id]), [['submitted', true, run.id]])
  assert.equal((await hey.pauseSchedule({ client, path })).data?.next_run_at, null)
  assert((await hey.resumeSchedule({ client, path })).data?.next_run_at)
  const { data: list } = await hey.listSchedules({ client })
  assert.deepEqual(list?.schedules.map((s) => [s.name, s.paused, s.last_run?.job_id]), [[path.schedule_name, false, run.id]])
  assert.equal((await hey.deleteSchedule({ client, path })).response?.status, 204)
  console.log(`hey-api: schedule: run ${run.id}`)
}

/** Pauses a priority, under which a job stays queued, cancels that job by its filters, and ends the pause. */
export async function pauses(client: Client) {
  const path = { scope: 'priority' as const, name: 'low' }
  const { data: pause, error } = await hey.putPause({ client, path, body: { reason: 'a try' } })
  assert.deepEqual([pause?.scope, pause?.name, pause?.reason], ['priority', 'low', 'a try'], JSON.stringify(error))
  assert.equal((await hey.listPauses({ client })).data?.pauses.length, 1)
  const { data: queued } = await hey.submitJob({ client, body: { kind: 'squares', numbers: [3], priority: 'low' } })
  assert(queued && 'state' in queued && queued.state === 'queued', JSON.stringify(queued))
  for (const validate_only of [true, false]) {
    const { data } = await hey.cancelJobs({ client, query: { priority: ['low'], state: ['queued'], validate_only } })
    assert.deepEqual(data, { matched: 1, changed: validate_only ? 0 : 1, next_page_token: null })
  }
  const { data: job } = await hey.getJob({ client, path: { job_id: queued.id }, headers })
  assert.equal(job?.state, 'cancelled')
  assert.equal((await hey.deletePause({ client, path })).response?.status, 204)
  console.log(`hey-api: pause: the job was ${job.state}`)
}
