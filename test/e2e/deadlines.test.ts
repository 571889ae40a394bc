import { expect, test } from 'vitest'
import type { Job } from '../../shared/schemas/job.ts'
import { eventually } from '../support/eventually.ts'
import { failure } from '../support/provider.ts'
import { ask, ownConfig } from '../support/requests.ts'
import { freshKey, gateway, provider, useGateway } from '../support/stage.ts'

const SLOTS = 4
/** How long after its deadline a job may still be there, whatever became of its worker, on a machine with other things to do. */
const LATE_MS = 30_000
/** Until its deadline: enough for a call to be made before. */
const LIFE_S = 5

useGateway({ env: { WORKER_CONCURRENCY: String(SLOTS) }, answer: () => ({ kind: 'hang' }) })

const submit = (options: object, content = 'hello') =>
  gateway.submit(ask(ownConfig({ url: provider.url, key: freshKey() }, { num_retries: 0 }), content), options)
const callsOf = (content: string) => provider.ledger.filter(({ text }) => text.includes(content))

/** The job once it has expired, neither before its deadline nor much later. */
async function expired({ id, expires_at: deadline }: Job): Promise<Job> {
  const job = await gateway.ended(id)
  expect(job).toMatchObject({ status: 'expired', error: { code: 'job_expired' } })
  expect(job.expired_at).toBeGreaterThanOrEqual(deadline)
  expect((job.expired_at ?? 0) - deadline).toBeLessThan(LATE_MS / 1000)
  return job
}

test('a job that runs at its deadline is stopped: its call is given up, and may have been billed', async () => {
  const job = await submit({ expires_in: LIFE_S })
  const ended = await expired(job)
  expect(ended.attempts).toMatchObject([{ outcome: 'aborted', possibly_billed: true }])
  await eventually('the connection is dropped', () => provider.ledger[0]?.outcome === 'left')
})

test('a job that stands in line, or waits for a limit, expires without a call', async () => {
  const busy = await Promise.all(Array.from({ length: SLOTS }, () => submit({ expires_in: 300 }, 'busy')))
  await eventually('the slots are taken', () => callsOf('busy').length >= SLOTS - 1)
  await expired(await submit({ expires_in: 1 }, 'in-line'))
  expect(callsOf('in-line')).toEqual([])
  for (const job of busy) await gateway.call('POST', `/v1/jobs/${job.id}/cancel`)

  provider.answer(() => failure(429, 'slow_down', { 'retry-after': '60' }))
  const limited = await expired(await submit({ expires_in: LIFE_S }, 'limited'))
  expect(limited.attempts).toHaveLength(1)
})

test('the time of a delayed job counts from its start', async () => {
  const job = await submit({ delay: 1, expires_in: LIFE_S }, 'delayed')
  expect(job.expires_at - (job.not_before ?? 0)).toBe(LIFE_S)
  const ended = await expired(job)
  expect((ended.expired_at ?? 0) - ended.created_at).toBeGreaterThanOrEqual(1 + LIFE_S)
  expect(callsOf('delayed')).toHaveLength(1)
})

test('a job whose worker is killed just before its deadline expires within seconds, once', async () => {
  const ends: string[] = []
  const subscriber = gateway.redis.duplicate()
  subscriber.on('message', (_channel, id) => ends.push(id))
  await subscriber.subscribe(gateway.keys.settledChannel)
  const [doomed] = gateway.workers
  const job = await submit({ expires_in: 8 }, 'doomed')
  await eventually('it runs', () => callsOf('doomed').length === 1)
  // The lease of its claim outlives its deadline.
  await eventually('its time is nearly over', () => Date.now() > job.expires_at * 1000 - 3000)
  doomed?.kill('SIGKILL')
  const spare = await gateway.addWorker()
  const ended = await expired(job)
  expect(ended.attempts).toMatchObject([{ outcome: 'lost', possibly_billed: true }])
  // The lease of the dead one has run out by the time that another job has gone the same way.
  await expired(await submit({ expires_in: LIFE_S }, 'after it'))
  expect(ends.filter((id) => id === job.id)).toHaveLength(1)
  expect(callsOf('doomed')).toHaveLength(1)
  expect(spare.hasEnded()).toBe(false)
  subscriber.disconnect()
})
