import { expect, test } from 'vitest'
import { eventually } from '../support/eventually.ts'
import { completion, failure } from '../support/provider.ts'
import { ask, ownConfig } from '../support/requests.ts'
import { freshKey, gateway, provider, useGateway } from '../support/stage.ts'
import { endsWithoutWait, expectAfter, startOf, startsOf } from '../support/windows.ts'

// What went wrong at others in production (LiteLLM #20722, #6498, #5698, #34836), played in small.

useGateway()

const config = (settings: Record<string, unknown> = {}, params: Record<string, unknown> = {}) =>
  ownConfig({ url: provider.url, key: freshKey(), ...params }, settings)

/** A machine with other things to do comes no later than this, and no wait that doubles with each refusal is over by then. */
const LATE_MS = 10_000

test('a throttled provider is asked exactly as often as it allows: Retry-After 5, 15, 30, 60 in a twentieth of the time', async () => {
  const asked = [0.25, 0.75, 1.5, 3]
  provider.answer(({ number }) => {
    const seconds = asked[number - 1]
    if (seconds === undefined) return completion('at last')
    return failure(429, 'rate_limit_exceeded', { 'retry-after-ms': String(seconds * 1_000) })
  })
  const { id } = await gateway.submit(ask(config()))
  const job = await gateway.ended(id)
  expect(job).toMatchObject({ status: 'completed', attempts_made: 5 })
  expect(provider.ledger).toHaveLength(5)
  for (const [index, seconds] of asked.entries()) {
    const [refusedAt, nextAt] = [startOf(job, index + 1), startOf(job, index + 2)]
    expectAfter(nextAt, refusedAt, seconds * 1_000)
    expect(nextAt - refusedAt).toBeLessThan(seconds * 1_000 + LATE_MS)
  }
})

test('two workers and one 429: nobody calls the key again before its time', async () => {
  provider.answer(({ number }) =>
    number === 1 ? failure(429, 'rate_limit_exceeded', { 'retry-after': '3' }) : completion('ok'),
  )
  const shared = config()
  const first = await gateway.submit(ask(shared))
  await eventually(
    'the first is parked',
    async () => (await gateway.job(first.id)).queue.state === 'rate_limited',
  )
  const others = await Promise.all(Array.from({ length: 40 }, () => gateway.submit(ask(shared))))
  const refused = await gateway.ended(first.id)
  const ended = [refused, ...(await Promise.all(others.map(({ id }) => gateway.ended(id))))]
  expect(ended.every(({ status }) => status === 'completed')).toBe(true)
  expect(provider.ledger).toHaveLength(42)
  const [, ...later] = startsOf(ended)
  expect(later).toHaveLength(41)
  for (const at of later) expectAfter(at, startOf(refused), 3_000)
})

test('two models with one key share a 429’s pause; another key goes on', async () => {
  const key = freshKey('shared')
  const url = provider.url
  provider.answer(({ model }) =>
    model === 'a' && provider.ledger.length === 1
      ? failure(429, 'rate_limit_exceeded', { 'retry-after': '2' })
      : completion('ok'),
  )
  const one = ownConfig({ url, key, model: 'openai/a' })
  const first = await gateway.submit(ask(one))
  await eventually('it is parked', async () => (await gateway.job(first.id)).queue.state === 'rate_limited')
  const twin = await gateway.submit(ask(ownConfig({ url, key, model: 'openai/b' })))
  const other = await gateway.submit(ask(config({}, { model: 'openai/b' })))
  expect(await endsWithoutWait(gateway, other.id)).toMatchObject({ status: 'completed' })
  const [refused, paused] = [await gateway.ended(first.id), await gateway.ended(twin.id)]
  expect(paused).toMatchObject({ status: 'completed', attempts_made: 1 })
  for (const at of [startOf(refused, 2), startOf(paused)]) expectAfter(at, startOf(refused), 2_000)
})

test('fallbacks in a circle end within the budget, every hop in the record', async () => {
  provider.answer(() => failure(503, 'overloaded'))
  const url = provider.url
  const list = ['a', 'b', 'c'].flatMap((group) => ownConfig({ url, key: freshKey(group), group }).model_list)
  const circle = {
    fallbacks: [{ a: ['b'] }, { b: ['c'] }, { c: ['a'] }],
    num_retries: 2,
    disable_cooldowns: true,
  }
  const { id } = await gateway.submit(ask({ model_list: list, ...circle }, 'hi', 'a'), { max_attempts: 30 })
  const job = await gateway.ended(id)
  expect(job).toMatchObject({ status: 'failed', attempts_made: 9 })
  expect(job.attempts.map(({ model_group: group }) => group).join('')).toBe('aaabbbccc')
  expect(provider.ledger).toHaveLength(9)
})

test('five failures in a hundred close no deployment: the job rate and at least 94% of all calls go through', async () => {
  // The same calls fail in every run: each twentieth.
  provider.answer(({ number }) => (number % 20 === 0 ? failure(500, 'unlucky') : completion('ok')))
  const url = provider.url
  const shared = {
    model_list: ['a', 'b', 'c'].flatMap(
      (model) => ownConfig({ url, key: freshKey(), model: `openai/${model}` }).model_list,
    ),
    num_retries: 0,
  }
  const jobs = await Promise.all(Array.from({ length: 300 }, () => gateway.submit(ask(shared))))
  const ended = await Promise.all(jobs.map(({ id }) => gateway.ended(id)))
  const good = ended.filter(({ status }) => status === 'completed')
  expect(good.length / ended.length).toBeGreaterThanOrEqual(0.94)
  // No job waited for a cooldown.
  expect(ended.every(({ attempts_made: made }) => made === 1)).toBe(true)
  expect(new Set(provider.ledger.map(({ model }) => model)).size).toBe(3)
})

test('all deployments cooling is no outage: jobs queue, one call tries each, then all go through', async () => {
  let isDown = true
  provider.answer(() => (isDown ? failure(503, 'overloaded') : completion('back')))
  const url = provider.url
  const shared = {
    model_list: ['a', 'b', 'c'].flatMap(
      (model) => ownConfig({ url, key: freshKey(), model: `openai/${model}` }).model_list,
    ),
    allowed_fails: 0,
    cooldown_time: 2,
    num_retries: 8,
  }
  const jobs = await Promise.all(
    Array.from({ length: 30 }, () => gateway.submit(ask(shared), { max_attempts: 30 })),
  )
  await eventually('all are parked', async () => {
    const all = await Promise.all(jobs.map(({ id }) => gateway.job(id)))
    return all.every(({ queue }) => queue.state === 'rate_limited' || queue.state === 'retrying')
  })
  isDown = false
  for (const { id } of jobs) expect(await gateway.ended(id)).toMatchObject({ status: 'completed' })
})
