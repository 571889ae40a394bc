import { expect, test } from 'vitest'
import type { Job } from '../../shared/schemas/job.ts'
import { eventually, gate } from '../support/eventually.ts'
import { completion, failure } from '../support/provider.ts'
import { ask } from '../support/requests.ts'
import { freshKey, gateway, provider, SHARED_MINUTE_MS as MINUTE_MS, useGateway } from '../support/stage.ts'
import { endOf, expectAfter, expectWithinLimit, startOf, startsOf } from '../support/windows.ts'

// Each test is one entry of LiteLLM's issue tracker about its Router: what was complained of must not be so here.

useGateway()

type Entry = { group?: string; params?: Record<string, unknown>; info?: Record<string, unknown> }

/** A config of deployments by the name of their model, each with a key of its own. */
function config(entries: Record<string, Entry>, settings: Record<string, unknown> = {}) {
  const list = Object.entries(entries).map(([model, { group = 'mine', params = {}, info }]) => ({
    model_name: group,
    litellm_params: {
      model: `openai/${model}`,
      api_key: freshKey(),
      api_base: `${provider.url}/v1`,
      ...params,
    },
    ...(info ? { model_info: info } : {}),
  }))
  return { model_list: list, ...settings }
}

const called = () => provider.ledger.map(({ model }) => model)
const callsOf = (model: string) => provider.ledger.filter((entry) => entry.model === model)

async function run(userConfig: object, fields: object = {}, options: object = {}): Promise<Job> {
  const { id } = await gateway.submit({ ...ask(userConfig), ...fields }, options)
  return gateway.ended(id)
}

function parked(id: string): Promise<Job> {
  return eventually(`job ${id} is parked`, async () => {
    const job = await gateway.job(id)
    return job.queue.state === 'rate_limited' && job
  })
}

test('#19985, #6498: fallbacks that point at each other end: no group twice, retries never begin anew, all in attempts', async () => {
  provider.answer(() => failure(500, 'down'))
  const cyclic = config(
    { a: { group: 'mine' }, b: { group: 'b' } },
    {
      fallbacks: [{ mine: ['b'] }, { b: ['mine'] }, { '*': ['b', 'mine'] }],
      num_retries: 10,
      disable_cooldowns: true,
    },
  )
  const job = await run(cyclic, {}, { max_attempts: 8 })
  expect(job).toMatchObject({ status: 'failed', attempts_made: 8 })
  expect(called()).toHaveLength(8)
  const hops = job.attempts
    .map(({ model_group: group }) => group)
    .filter((group, at, all) => group !== all[at - 1])
  expect(hops.length).toBeLessThanOrEqual(2)
})

test('#3274: a 429 with no other deployment goes to the fallback at once', async () => {
  provider.answer(({ model }) =>
    model === 'busy' ? failure(429, 'rate_limit_exceeded', { 'retry-after': '30' }) : completion('from b'),
  )
  const job = await run(
    config({ busy: {}, spare: { group: 'b' } }, { fallbacks: [{ mine: ['b'] }], num_retries: 5 }),
  )
  expect(called()).toEqual(['busy', 'spare'])
  // Not after the thirty seconds.
  expect(startOf(job, 2) - endOf(job)).toBeLessThan(15_000)
})

test('#2620: retries do not multiply: num_retries more calls and no other', async () => {
  provider.answer(() => failure(500, 'down'))
  const one = config({ a: { params: { max_retries: 0 } } }, { num_retries: 3, disable_cooldowns: true })
  expect(await run(one)).toMatchObject({ status: 'failed', attempts_made: 4 })
  expect(called()).toHaveLength(4)
})

test('#7669: over its limit, usage-based routing waits for the window instead of failing', async () => {
  const limited = config({ a: { params: { rpm: 2 } } }, { routing_strategy: 'usage-based-routing-v2' })
  const jobs = await Promise.all(Array.from({ length: 4 }, () => gateway.submit(ask(limited))))
  const ended = await Promise.all(jobs.map(({ id }) => gateway.ended(id)))
  for (const job of ended) expect(job).toMatchObject({ status: 'completed', attempts_made: 1 })
  expectWithinLimit(startsOf(ended), 2, MINUTE_MS)
})

test('#3646, #8668, #5609: the only deployment cools: the job waits for it', async () => {
  provider.answer(({ number }) => (number === 1 ? failure(500, 'down') : completion('ok')))
  const single = config({ a: {} }, { allowed_fails: 0, cooldown_time: 1.5, num_retries: 1 })
  const job = await run(single)
  expect(job).toMatchObject({ status: 'completed', attempts_made: 2 })
  expectAfter(startOf(job, 2), startOf(job), 1_500)
})

test('#40130: a shorter cooldown that comes later does not shorten a longer one', async () => {
  const both = gate()
  provider.answer(({ number }) => {
    if (number > 2) return completion('ok')
    const retryAfter = number === 1 ? '3' : '1'
    return {
      ...failure(429, 'rate_limit_exceeded', { 'retry-after': retryAfter }),
      until: both.opened,
      delayMs: number,
    }
  })
  const shared = config({ a: {} })
  const jobs = await Promise.all([gateway.submit(ask(shared)), gateway.submit(ask(shared))])
  await eventually('both are called', () => provider.ledger.length === 2)
  both.open()
  const ended = await Promise.all(jobs.map(({ id }) => gateway.ended(id)))
  expect(ended.every(({ status }) => status === 'completed')).toBe(true)
  const longest = ended.find(({ attempts }) => attempts[0]?.retry_after === 3)
  if (!longest) throw new Error('one was told to wait for three seconds')
  // Whoever was refused again had called while the pause was over.
  for (const job of ended) expectAfter(startOf(job, job.attempts.length), startOf(longest), 3_000)
})

test('#35104: failures of a fallback’s deployment count towards its cooldown, for other jobs as well', async () => {
  provider.answer(() => failure(500, 'down'))
  // A start that never cools: one that did would be waited for, once its fallback has failed.
  const shared = config(
    { a: { group: 'mine', params: { cooldown_time: 0 } }, b: { group: 'b' } },
    {
      fallbacks: [{ mine: ['b'] }],
      num_retries: 0,
      allowed_fails_policy: { InternalServerErrorAllowedFails: 1 },
      cooldown_time: 60,
    },
  )
  for (let count = 0; count < 2; count += 1) expect(await run(shared)).toMatchObject({ status: 'failed' })
  const third = await gateway.submit(ask(shared), { expires_in: 2 })
  expect(await gateway.ended(third.id)).toMatchObject({ status: 'expired' })
  expect(callsOf('b')).toHaveLength(2)
})

test('#40718: a job that never got a deployment ends with a typed error that blames none', async () => {
  provider.answer(() => failure(429, 'rate_limit_exceeded', { 'retry-after': '60' }))
  const shared = config({ a: {} })
  await parked((await gateway.submit(ask(shared), { expires_in: 30 })).id)
  const job = await run(shared, {}, { expires_in: 1 })
  expect(job).toMatchObject({
    status: 'expired',
    attempts: [],
    error: { code: 'job_expired', type: 'timeout_error' },
  })
  expect(job.error?.message).not.toMatch(/openai|mine/)
})

test('#12108: cooldown_time 0 is no cooldown, not the default one', async () => {
  provider.answer(({ number }) => (number <= 3 ? failure(500, 'down') : completion('ok')))
  for (const [params, settings] of [
    [{}, { cooldown_time: 0 }],
    [{ cooldown_time: 0 }, { cooldown_time: 60 }],
  ] as const) {
    provider.ledger.length = 0
    const job = await run(config({ a: { params } }, { ...settings, allowed_fails: 0, num_retries: 5 }))
    expect(job).toMatchObject({ status: 'completed', attempts_made: 4 })
  }
})

test.each([0, 2, 3])(
  '#14284: allowed_fails %i means that many failures, and the next one cools; also 3',
  async (allowed) => {
    provider.answer(() => failure(500, 'down'))
    const counted = config({ a: {} }, { allowed_fails: allowed, cooldown_time: 60, num_retries: 9 })
    const { id } = await gateway.submit(ask(counted), { expires_in: 120 })
    await parked(id)
    expect(called()).toHaveLength(allowed + 1)
    await gateway.call('POST', `/v1/jobs/${id}/cancel`)
  },
)

test('#34416, #33258, #31876: a deployment’s own failure policy wins over the config’s', async () => {
  provider.answer(() => failure(500, 'down'))
  const policy = { InternalServerErrorAllowedFails: 0 }
  const strict = config(
    {
      a: { params: { order: 1 }, info: { allowed_fails_policy: policy, cooldown_time: 60 } },
      b: { params: { order: 2 } },
    },
    { allowed_fails: 100, num_retries: 4 },
  )
  expect(await run(strict)).toMatchObject({ status: 'failed', attempts_made: 5 })
  expect(callsOf('a')).toHaveLength(1)
})

test('#3617: a cooldown lasts as long as Retry-After says, and at most an hour', async () => {
  provider.answer(({ number }) =>
    failure(429, 'rate_limit_exceeded', { 'retry-after': number === 1 ? '7' : '9999999' }),
  )
  for (const seconds of [7, 3_600]) {
    const { id } = await gateway.submit(ask(config({ a: {} })))
    const waiting = await parked(id)
    const until = (waiting.queue.next_attempt_at ?? 0) * 1_000
    expectAfter(until, startOf(waiting), seconds * 1_000)
    // What the machine took to write down that it failed.
    expect(until - startOf(waiting)).toBeLessThan(seconds * 1_000 + 10_000)
    await gateway.call('POST', `/v1/jobs/${id}/cancel`)
  }
})

test('#5933: a deployment that is no longer in the config troubles nobody', async () => {
  provider.answer(({ model }) => (model === 'gone' ? failure(401, 'invalid_api_key') : completion('ok')))
  const { model_list: list } = config({ gone: { params: { order: 1 } }, stays: { params: { order: 2 } } })
  expect(await run({ model_list: list })).toMatchObject({ status: 'completed', attempts_made: 2 })
  expect(await run({ model_list: list.slice(1) })).toMatchObject({ status: 'completed', attempts_made: 1 })
})

test('#2994: rpm holds when many jobs come at once', async () => {
  const limited = config({ a: { params: { rpm: 5 } } })
  const jobs = await Promise.all(Array.from({ length: 12 }, () => gateway.submit(ask(limited))))
  const ended = await Promise.all(jobs.map(({ id }) => gateway.ended(id)))
  for (const job of ended) expect(job).toMatchObject({ status: 'completed' })
  expect(provider.ledger).toHaveLength(12)
  expectWithinLimit(startsOf(ended), 5, MINUTE_MS)
})

test('#33329, #27916: weights count although the first deployment has none', async () => {
  const weighted = config({ none: {}, some: { params: { weight: 5 } } })
  const jobs = await Promise.all(Array.from({ length: 20 }, () => gateway.submit(ask(weighted))))
  for (const { id } of jobs) expect(await gateway.ended(id)).toMatchObject({ status: 'completed' })
  expect(new Set(called())).toEqual(new Set(['some']))
})

test('#3106: usage-based routing does not send everything to one deployment', async () => {
  provider.answer(() => completion('ok', { prompt_tokens: 10, completion_tokens: 10, total_tokens: 20 }))
  const even = config({ a: {}, b: {}, c: {} }, { routing_strategy: 'usage-based-routing' })
  for (let count = 0; count < 9; count += 1) await run(even)
  for (const model of ['a', 'b', 'c']) expect(callsOf(model).length).toBeGreaterThanOrEqual(2)
})

test('unfiled: deployments found by a wildcard cool like all others', async () => {
  provider.answer(({ model }) =>
    model === 'gpt-x' ? failure(429, 'rate_limit_exceeded', { 'retry-after': '60' }) : completion('ok'),
  )
  const wild = config(
    { '*': { group: 'any/*' }, spare: { group: 'spare' } },
    { fallbacks: [{ 'any/*': ['spare'] }] },
  )
  for (let count = 0; count < 2; count += 1)
    expect(await run(wild, { model: 'any/gpt-x' })).toMatchObject({ status: 'completed' })
  expect(called()).toEqual(['gpt-x', 'spare', 'spare'])
})
