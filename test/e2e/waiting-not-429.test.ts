import { expect, test } from 'vitest'
import type { Job } from '../../shared/schemas/job.ts'
import { chat, openaiClient } from '../support/clients.ts'
import { eventually, gate, moment } from '../support/eventually.ts'
import { completion, failure } from '../support/provider.ts'
import { ask, ownConfig } from '../support/requests.ts'
import { freshKey, gateway, provider, SHARED_MINUTE_MS as MINUTE_MS, useGateway } from '../support/stage.ts'
import { expectAfter, expectWithinLimit, startOf, startsOf } from '../support/windows.ts'

useGateway()

const config = (settings: Record<string, unknown> = {}, params: Record<string, unknown> = {}) =>
  ownConfig({ url: provider.url, key: freshKey(), ...params }, settings)

/** The job once it is parked, with what it says of its wait. */
function parked(id: string): Promise<Job> {
  return eventually(`job ${id} is parked`, async () => {
    const job = await gateway.job(id)
    if (job.queue.state === 'rate_limited') return job
    throw new Error(JSON.stringify({ status: job.status, queue: job.queue, attempts: job.attempts }))
  })
}

test('when every deployment is cooling the job waits for the earliest, says so, and completes', async () => {
  provider.answer(() => failure(500, 'down'))
  const url = provider.url
  const two = {
    model_list: [
      ...ownConfig({ url, key: freshKey(), model: 'openai/a' }).model_list,
      ...ownConfig({ url, key: freshKey(), model: 'openai/b' }).model_list,
    ],
    allowed_fails: 0,
    // Longer than the back-off of a retry, which comes first.
    cooldown_time: 6,
    num_retries: 5,
  }
  const { id } = await gateway.submit(ask(two))
  const waiting = await parked(id)
  expect(waiting.status).toBe('queued')
  expect(waiting.attempts.map(({ deployment }) => deployment).toSorted()).toEqual(['openai/a', 'openai/b'])
  const says = (waiting.queue.next_attempt_at ?? 0) * 1000
  expectAfter(says, startOf(waiting, 1), 6000)

  provider.answer(() => completion('recovered'))
  const job = await gateway.ended(id)
  expect(job).toMatchObject({ status: 'completed', attempts_made: 3 })
  expectAfter(startOf(job, 3), says, 0)
})

test('a 429 is waited out for its whole Retry-After, and costs no retry', async () => {
  provider.answer(({ number }) =>
    number <= 2 ? failure(429, 'rate_limit_exceeded', { 'retry-after': '2' }) : completion('ok'),
  )
  const { id } = await gateway.submit(ask(config({ num_retries: 0 })))
  const job = await gateway.ended(id)
  const refused = { status_code: 429, error_class: 'rate_limit', retry_after: 2 }
  expect(job).toMatchObject({ status: 'completed', attempts: [refused, refused, { status_code: 200 }] })
  expect(provider.ledger).toHaveLength(3)
  for (const number of [1, 2]) expectAfter(startOf(job, number + 1), startOf(job, number), 2000)
})

test('a synchronous call gets its completion after the wait, not a 429', async () => {
  provider.answer(({ number }) =>
    number === 1 ? failure(429, 'rate_limit_exceeded', { 'retry-after': '1' }) : completion('after the wait'),
  )
  const client = openaiClient(gateway.url, gateway.masterKey)
  const reply = await chat(client, { model: 'mine', user_config: config() })
  expect(reply.choices[0]?.message.content).toBe('after the wait')
  expect(provider.ledger).toHaveLength(2)
})

test('the job’s own deadline ends the wait: expired, and no further call', async () => {
  provider.answer(() => failure(429, 'rate_limit_exceeded', { 'retry-after': '60' }))
  const { id } = await gateway.submit(ask(config()), { expires_in: 4 })
  const job = await gateway.ended(id)
  expect(job).toMatchObject({ status: 'expired', error: { code: 'job_expired' }, attempts_made: 1 })
  expect(provider.ledger).toHaveLength(1)
})

test('a cooldown is seen by a worker that started later, and it calls nothing', async () => {
  provider.answer(() => failure(429, 'rate_limit_exceeded', { 'retry-after': '60' }))
  const shared = config()
  const { id } = await gateway.submit(ask(shared))
  const until = (await parked(id)).queue.next_attempt_at ?? 0
  // Those who saw the 429 leave; only the record of it in Redis is left.
  const fresh = await gateway.addWorker()
  for (const worker of gateway.workers.filter((one) => one !== fresh)) {
    if (!worker.hasEnded()) worker.kill('SIGTERM')
    await worker.ended()
  }
  const others = await Promise.all(Array.from({ length: 5 }, () => gateway.submit(ask(shared))))
  for (const other of others) {
    const waiting = await parked(other.id)
    expect(waiting.attempts).toEqual([])
    // A little apart, each at its own time; the first may have stood in line twice, and have a later one.
    expect(waiting.queue.next_attempt_at).toBeGreaterThan(until - 1)
    expect(waiting.queue.next_attempt_at).toBeLessThan(until + 2)
  }
  expect(provider.ledger).toHaveLength(1)
  await Promise.all(
    [id, ...others.map((other) => other.id)].map((one) => gateway.call('POST', `/v1/jobs/${one}/cancel`)),
  )
})

test('after a cooldown one call tries the deployment; the rest stay parked until it worked', async () => {
  const probes = [gate(), gate()]
  provider.answer(({ number }) => {
    const answer = number <= 2 ? failure(500, 'down') : completion('back')
    return { ...answer, until: probes[number - 2]?.opened }
  })
  const shared = config({ allowed_fails: 0, cooldown_time: 3, num_retries: 10 })
  const first = await gateway.submit(ask(shared))
  await parked(first.id)
  const rest = await Promise.all(Array.from({ length: 8 }, () => gateway.submit(ask(shared))))
  // One probe fails, the next one works: nobody calls beside them, for as long as they take.
  for (const [index, probe] of probes.entries()) {
    await eventually('the deployment is tried', () => provider.ledger.length > index + 1)
    await moment()
    expect(provider.ledger).toHaveLength(index + 2)
    probe.open()
  }
  const ended = await Promise.all([first, ...rest].map(({ id }) => gateway.ended(id)))
  expect(ended.every(({ status }) => status === 'completed')).toBe(true)
  const attempts = ended.flatMap((job) => job.attempts).toSorted((a, b) => a.started_at - b.started_at)
  const [failed, failedAgain, worked] = attempts.map((attempt) => ({ attempts: [attempt] }))
  if (!failed || !failedAgain || !worked) throw new Error('there were three calls at least')
  expectAfter(startOf(failedAgain), startOf(failed), 3000)
  expectAfter(startOf(worked), startOf(failedAgain), 3000)
  for (const at of startsOf([{ attempts: attempts.slice(3) }])) expectAfter(at, startOf(worked), 0)
})

test('rpm of a deployment holds across workers: no window of a minute sees more calls', async () => {
  await gateway.addWorker()
  const rpm = 5
  const limited = config({}, { rpm })
  const jobs = await Promise.all(Array.from({ length: 3 * rpm }, () => gateway.submit(ask(limited))))
  const waiting = await eventually('some wait for their place', async () => {
    const all = await Promise.all(jobs.map(({ id }) => gateway.job(id)))
    const parkedOnes = all.filter(({ queue }) => queue.state === 'rate_limited')
    return parkedOnes.length >= rpm && parkedOnes
  })
  // Each has a place of its own to wake at, or they would all wake to find one free.
  expect(waiting.every(({ queue }) => (queue.next_attempt_at ?? 0) > 0)).toBe(true)
  const ended = await Promise.all(jobs.map(({ id }) => gateway.ended(id)))
  for (const job of ended) expect(job).toMatchObject({ status: 'completed', attempts_made: 1 })
  expect(provider.ledger).toHaveLength(3 * rpm)
  expectWithinLimit(startsOf(ended), rpm, MINUTE_MS)
})

test('tpm of a deployment holds: the tokens used are counted, not the tokens guessed', async () => {
  // Each call is guessed small and turns out to use 60 of the 100.
  provider.answer(() => completion('long', { prompt_tokens: 10, completion_tokens: 50, total_tokens: 60 }))
  const limited = config({}, { tpm: 100 })
  const before = await usageLogs()
  const body = { ...ask(limited, 'hi'), max_tokens: 5 }
  // One after the other, so that each knows what the last one used: that is noted shortly after the end.
  const ended: Job[] = []
  for (const used of [60, 120, 180]) {
    const { id } = await gateway.submit(body)
    ended.push(await gateway.ended(id))
    if (used < 180) await eventually('its tokens are noted', async () => (await tokensNoted(before)) >= used)
  }
  expectWithinLimit(startsOf(ended), 2, MINUTE_MS)
})

const usageLogs = () => gateway.redis.keys(`${gateway.prefix}:*:use:*`)

/** Tokens in usage logs that were not there before; each part of one is 'requests input output'. */
async function tokensNoted(before: readonly string[]): Promise<number> {
  const logs = (await usageLogs()).filter((log) => !before.includes(log))
  const values = await Promise.all(logs.map((log) => gateway.redis.hvals(log)))
  const used = values.flat().map((value) => value.split(' ').slice(1))
  return used.flat().reduce((sum, tokens) => sum + Number(tokens), 0)
}
