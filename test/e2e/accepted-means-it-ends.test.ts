import { expect, test } from 'vitest'
import type { Job } from '../../shared/schemas/job.ts'
import { eventually, gate } from '../support/eventually.ts'
import { completion } from '../support/provider.ts'
import { ask, ownConfig } from '../support/requests.ts'
import { freshKey, gateway, provider, useGateway } from '../support/stage.ts'

useGateway({ workers: 0, env: { GATEWAY_CRASHES_MAX: '1' } })

const config = () => ownConfig({ url: provider.url, key: freshKey() }, { num_retries: 0 })

/** The worker that the test before this one has left, or else a new one. */
async function worker() {
  return gateway.workers.find((one) => !one.hasEnded()) ?? gateway.addWorker()
}

/** Ends all workers. */
async function noWorker() {
  const living = gateway.workers.filter((one) => !one.hasEnded())
  for (const one of living) one.kill('SIGTERM')
  await Promise.all(living.map((one) => one.ended()))
}

test('a job no worker is there for ends at its deadline', async () => {
  const { id } = await gateway.submit(ask(config()), { expires_in: 1 })
  const dueAt = Date.now() + 1000
  // Deadlines are kept by whichever worker comes; until then nothing is called either.
  await eventually('the deadline has passed', () => Date.now() > dueAt)
  await worker()
  expect(await gateway.ended(id)).toMatchObject({
    status: 'expired',
    error: { code: 'job_expired' },
    attempts: [],
  })
  expect(provider.ledger).toEqual([])
  await noWorker()
})

test('an API killed right after its 202 loses nothing', async () => {
  const { id } = await gateway.submit(ask(config()))
  gateway.api.kill('SIGKILL')
  await gateway.api.ended()
  await gateway.replaceApi()
  await worker()
  expect(await gateway.ended(id)).toMatchObject({ status: 'completed', attempts_made: 1 })
})

test('a sync call whose API was killed goes on as a job', async () => {
  await worker()
  const held = gate()
  provider.answer(() => ({ ...completion('kept'), until: held.opened }))
  const body = ask(config())
  const call = gateway.call('POST', '/v1/chat/completions', {
    body: { ...body, job: { metadata: { mark: 'sync' } } },
  })
  const broken = call.then(
    () => false,
    () => true,
  )
  await eventually('the call is made', () => provider.open() === 1)
  gateway.api.kill('SIGKILL')
  expect(await broken).toBe(true)
  await gateway.replaceApi()
  held.open()
  const list = await gateway.call('GET', '/v1/jobs?metadata[mark]=sync')
  const [job] = (list.json as { data: Job[] }).data
  expect(await gateway.ended(job?.id ?? '')).toMatchObject({ status: 'completed', attempts_made: 1 })
})

test('a worker killed mid-call is noticed; the job goes on, its lost call remembered as possibly billed', async () => {
  const doomed = await worker()
  provider.answer(({ number }) => (number <= 5 ? { kind: 'hang' } : completion('second try')))
  const jobs = await Promise.all(Array.from({ length: 5 }, () => gateway.submit(ask(config()))))
  await eventually('all five are called', () => provider.open() === 5)
  await gateway.addWorker()
  doomed.kill('SIGKILL')
  await doomed.ended()
  for (const { id } of jobs) {
    const job = await gateway.ended(id)
    expect(job).toMatchObject({ status: 'completed', attempts_made: 2 })
    expect(job.attempts).toMatchObject([
      { number: 1, outcome: 'lost', possibly_billed: true },
      { number: 2, outcome: 'completed', possibly_billed: false },
    ])
  }
  expect(provider.ledger).toHaveLength(10)
})

test('a job that outlives more workers than its crash budget ends as failed, worker_lost', async () => {
  provider.answer(() => ({ kind: 'hang' }))
  const { id } = await gateway.submit(ask(config()))
  for (const calls of [1, 2]) {
    const doomed = await worker()
    await eventually(`call ${calls} is made`, () => provider.ledger.length === calls)
    doomed.kill('SIGKILL')
    await doomed.ended()
  }
  await worker()
  const job = await gateway.ended(id)
  expect(job).toMatchObject({ status: 'failed', error: { code: 'worker_lost' } })
  expect(job.attempts).toMatchObject([
    { outcome: 'lost', possibly_billed: true },
    { outcome: 'lost', possibly_billed: true },
  ])
  expect(provider.ledger).toHaveLength(2)
})

test('on_crash: "fail" is not called again after a crash', async () => {
  provider.answer(() => ({ kind: 'hang' }))
  const doomed = await worker()
  const { id } = await gateway.submit(ask(config()), { on_crash: 'fail' })
  await eventually('the call is made', () => provider.ledger.length === 1)
  doomed.kill('SIGKILL')
  await doomed.ended()
  await worker()
  const job = await gateway.ended(id)
  expect(job).toMatchObject({ status: 'failed', error: { code: 'worker_lost' } })
  expect(job.attempts).toMatchObject([{ outcome: 'lost', possibly_billed: true }])
  expect(provider.ledger).toHaveLength(1)
})

test('workers killed again and again: every job ends once, and every call is in its attempts', async () => {
  await noWorker()
  provider.answer(() => ({ ...completion('ok'), delayMs: 200 }))
  const configs = Array.from({ length: 4 }, config)
  const prompts = Array.from({ length: 200 }, (_, number) => `job #${number}!`)
  const jobs = await Promise.all(
    prompts.map(async (prompt, number) => ({
      prompt,
      ...(await gateway.submit(ask(configs[number % 4] ?? {}, prompt))),
    })),
  )
  const few = { WORKER_CONCURRENCY: '10' }
  const started = await Promise.all([1, 2, 3].map(() => gateway.addWorker(few)))
  for (const [index, calls] of [20, 100].entries()) {
    await eventually('some calls are made', () => provider.ledger.length >= calls)
    started[index]?.kill('SIGKILL')
    await started[index]?.ended()
  }
  let lostCalls = 0
  for (const { id, prompt } of jobs) {
    const job = await gateway.ended(id)
    const calls = provider.ledger.filter((entry) => JSON.stringify(entry.body).includes(prompt))
    expect(job.attempts_made, id).toBe(job.attempts.length)
    // A call noted and then killed may not have left; one that was made is always noted.
    expect(calls.length).toBeLessThanOrEqual(job.attempts.length)
    const lost = job.attempts.filter(({ outcome }) => outcome === 'lost')
    lostCalls += lost.length
    expect(lost.every(({ possibly_billed }) => possibly_billed)).toBe(true)
    if (job.status === 'completed') {
      expect(calls.length).toBeGreaterThan(0)
      expect(job.attempts.length - lost.length).toBe(1)
    } else {
      expect(job).toMatchObject({ status: 'failed', error: { code: 'worker_lost' } })
    }
  }
  expect(lostCalls).toBeGreaterThan(2)
})
