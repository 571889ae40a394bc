import { afterEach, beforeEach, expect, test } from 'vitest'
import type { DeliveryClaim, DeliveryOutcome } from '../../shared/webhooks/deliveries.ts'
import { eventually } from '../support/eventually.ts'
import { testStore, type TestStore } from '../support/store.ts'
import { testWebhooks, type TestWebhooks } from '../support/webhooks.ts'

const DAY_MS = 86_400_000
const webhook = { url: 'https://hook.example/canary-path?t=canary-query', secret: 'canary-secret' }

let store: TestStore
let webhooks: TestWebhooks
beforeEach(() => {
  store = testStore()
  webhooks = testWebhooks(store, { leaseMs: 1_500, lookAgainMs: 1_500 })
})
afterEach(async () => {
  await webhooks.close()
  await store.cleanup()
})

/** A job that ended and was announced. */
async function announced(change: Parameters<TestWebhooks['endJob']>[0] = {}) {
  const jobId = await webhooks.endJob({ webhook, ...change })
  await webhooks.announce(jobId)
  return { jobId, id: webhooks.deliveryId(jobId) }
}

async function claimed(id: string): Promise<DeliveryClaim> {
  return eventually('the delivery can be taken', async () => {
    const result = await webhooks.deliveries.claim(id)
    return result.kind === 'claimed' ? result.claim : null
  })
}

/** Notes a try that was answered so. */
async function finish(claim: DeliveryClaim, statusCode: number, outcome: DeliveryOutcome): Promise<string> {
  const attempt = { number: claim.number, startedMs: claim.startedMs, durationMs: 1, statusCode, error: null }
  const is = statusCode === 200 ? ('accepted' as const) : ('failed' as const)
  return (await webhooks.deliveries.finish(claim, attempt, outcome, { is, restMs: 0 })).kind
}

function read(id: string) {
  return webhooks.deliveryLog.read('acme', id)
}

/** How long the job's record is still kept, by what it shows, by the sweeper's set and at least by its own TTL. */
async function keptMs(jobId: string): Promise<number> {
  const expires = Number(await store.redis.hget(store.keys.job(jobId), 'expires'))
  expect(Math.abs(Number(await store.redis.zscore(store.keys.due, jobId)) - expires)).toBeLessThan(1_000)
  expect(await store.redis.pttl(store.keys.job(jobId))).toBeGreaterThan(expires - Date.now() - 1_000)
  return expires - Date.now()
}

/** Everything Redis holds under the test's prefix, BullMQ's keys included, as text. */
async function dump(): Promise<string> {
  const texts: string[] = []
  for (const key of await store.redis.keys(`${store.prefix}:*`)) {
    texts.push(key)
    const type = await store.redis.type(key)
    if (type === 'hash') texts.push(JSON.stringify(await store.redis.hgetall(key)))
    if (type === 'string') texts.push((await store.redis.get(key)) ?? '')
    if (type === 'zset') texts.push(...(await store.redis.zrange(key, '0', '-1')))
    if (type === 'list') texts.push(...(await store.redis.lrange(key, 0, -1)))
  }
  return texts.join('\n')
}

test('an end that is announced twice in a row, and by many at once, makes one delivery', async () => {
  const jobId = await webhooks.endJob({ webhook })
  await Promise.all([webhooks.announce(jobId), webhooks.announce(jobId), webhooks.announce(jobId)])
  await webhooks.announce(jobId)
  expect(await store.redis.zrange(store.keys.deliveryIndex('acme'), '0', '-1')).toEqual([
    webhooks.deliveryId(jobId),
  ])
  expect(await store.redis.zcard(store.keys.announce)).toBe(0)
  expect(await read(webhooks.deliveryId(jobId))).toMatchObject({
    state: 'pending',
    subjectId: jobId,
    attempts: [],
  })
})

test('an announcement that comes again after the delivery was made and forgotten does not make it anew', async () => {
  const { jobId, id } = await announced()
  await store.redis.del(store.keys.delivery(id))
  await webhooks.announce(jobId)
  expect(await store.redis.exists(store.keys.delivery(id))).toBe(0)
})

test("the job's own copy of its webhook is erased in the step that announces it", async () => {
  const jobId = await webhooks.endJob({ webhook })
  expect(await store.redis.hexists(store.keys.job(jobId), 'hook')).toBe(1)
  await webhooks.announce(jobId)
  expect(await store.redis.hexists(store.keys.job(jobId), 'hook')).toBe(0)
})

test('no URL, secret, metadata or result is readable in any key or value, before, between and after the tries', async () => {
  const change = { webhook: { ...webhook, include_result: true } }
  const jobId = await webhooks.endJob(change, { body: '{"text":"canary-result"}' })
  const dumps = [await dump()]
  await webhooks.announce(jobId)
  dumps.push(await dump())
  const claim = await claimed(webhooks.deliveryId(jobId))
  expect(webhooks.deliveries.open(claim)).toMatchObject({
    hook: webhook,
    event: expect.stringContaining('canary-result'),
  })
  await finish(claim, 500, { state: 'pending', waitMs: 0 })
  dumps.push(await dump())
  expect(dumps.join('\n')).toContain(webhooks.deliveryId(jobId))
  expect(dumps.join('\n')).not.toMatch(/canary/)
})

test('of workers that take one delivery at once one gets it; who comes while it is tried is too early', async () => {
  const { id } = await announced()
  const results = await Promise.all([1, 2, 3].map(() => webhooks.deliveries.claim(id)))
  expect(results.map(({ kind }) => kind).toSorted()).toEqual(['claimed', 'early', 'early'])
})

test('a try whose worker died comes back when its lease ran out, under the next number, and still shows', async () => {
  const { id } = await announced()
  const first = await claimed(id)
  const second = await claimed(id)
  expect([first.number, second.number]).toEqual([1, 2])
  expect(await finish(first, 500, { state: 'pending', waitMs: 0 })).toBe('fenced')
  expect(await finish(second, 200, { state: 'delivered' })).toBe('noted')
  const { attempts = [] } = (await read(id)) ?? {}
  expect(attempts.map(({ number, statusCode }) => [number, statusCode])).toEqual([
    [1, null],
    [2, 200],
  ])
})

test('an acceptance counts even when it came after its lease, and is noted once', async () => {
  const { id } = await announced()
  const first = await claimed(id)
  const second = await claimed(id)
  expect(await finish(first, 200, { state: 'delivered' })).toBe('noted')
  expect(await finish(first, 200, { state: 'delivered' })).toBe('ended')
  expect(await finish(second, 500, { state: 'exhausted' })).toBe('ended')
  expect((await read(id))?.state).toBe('delivered')
  expect(await webhooks.deliveries.claim(id)).toEqual({ kind: 'ended' })
})

test('an ended delivery waits nowhere, loses the result that it carried once accepted, and is gone a month later', async () => {
  const { id } = await announced({ webhook: { ...webhook, include_result: true } })
  expect(await store.redis.hexists(store.keys.delivery(id), 'body')).toBe(1)
  const claim = await claimed(id)
  await finish(claim, 200, { state: 'delivered' })
  expect(await store.redis.zcard(store.keys.targetsDue)).toBe(0)
  expect(await store.redis.hexists(store.keys.delivery(id), 'body')).toBe(0)
  const forgetAt = Number(await store.redis.zscore(store.keys.deliveriesDue, id))
  expect(forgetAt - Date.now()).toBeGreaterThan(30 * DAY_MS - 10_000)
  expect(await store.redis.pttl(store.keys.delivery(id))).toBeGreaterThan(forgetAt - Date.now())
  await store.redis.zadd(store.keys.deliveriesDue, 1, id)
  await webhooks.deliveries.forgetDue()
  expect(await store.redis.exists(store.keys.delivery(id), store.keys.deliveryIndex('acme'))).toBe(0)
  expect(await store.redis.zcard(store.keys.deliveriesDue)).toBe(0)
})

test('a job is kept until the last of its deliveries has ended, and goes then if one of them was accepted', async () => {
  const endpoint = await webhooks.endpoint('https://other.example/')
  const { jobId, id } = await announced({ resultTtlMs: 0 })
  const other = store.ids.deliveryId(store.ids.eventId(jobId, 'job.completed'), endpoint.id)
  await finish(await claimed(id), 200, { state: 'delivered' })
  expect(await keptMs(jobId)).toBeGreaterThan(DAY_MS - 10_000)
  await finish(await claimed(other), 500, { state: 'exhausted' })
  expect(await keptMs(jobId)).toBeLessThanOrEqual(60_000)
})

test('a result lives its whole time from its first accepted webhook on', async () => {
  const { jobId, id } = await announced({ resultTtlMs: 2 * DAY_MS })
  await store.redis.hset(store.keys.job(jobId), 'expires', Date.now() + 5_000)
  const claim = await claimed(id)
  await finish(claim, 200, { state: 'delivered' })
  expect(await keptMs(jobId)).toBeGreaterThan(2 * DAY_MS - 10_000)
  const view = await store.jobs.read('acme', jobId)
  expect(view?.job.result_expires_at).toBeGreaterThan(Date.now() / 1000 + (2 * DAY_MS) / 1000 - 10)
})

test('a result outlives every wait for the next try, however short its time', async () => {
  const { jobId, id } = await announced({ resultTtlMs: 1_000 })
  const claim = await claimed(id)
  await finish(claim, 500, { state: 'pending', waitMs: DAY_MS })
  expect(await keptMs(jobId)).toBeGreaterThan(2 * DAY_MS - 10_000)
})

test('a wait for the next try never shortens the life of a result', async () => {
  const { jobId, id } = await announced({ resultTtlMs: 9 * DAY_MS })
  const claim = await claimed(id)
  await finish(claim, 500, { state: 'pending', waitMs: DAY_MS })
  expect(await keptMs(jobId)).toBeGreaterThan(9 * DAY_MS - 10_000)
})

test('a result with `result_ttl: 0` goes a minute after it was accepted', async () => {
  const { jobId, id } = await announced({ resultTtlMs: 0 })
  expect(await keptMs(jobId)).toBeGreaterThan(DAY_MS - 10_000)
  const claim = await claimed(id)
  await finish(claim, 200, { state: 'delivered' })
  expect(await keptMs(jobId)).toBeGreaterThan(50_000)
  expect(await keptMs(jobId)).toBeLessThanOrEqual(60_000)
})

test('the purged record of a job is not brought back by the acceptance of its webhook', async () => {
  const { jobId, id } = await announced()
  await store.redis.del(store.keys.job(jobId))
  const claim = await claimed(id)
  await finish(claim, 200, { state: 'delivered' })
  expect(await store.redis.exists(store.keys.job(jobId))).toBe(0)
})

test('what was lost on its way is handed out once in a while, by two sweepers at once too, and what is not due is not', async () => {
  const { id } = await announced()
  const [target = ''] = await store.redis.zrange(store.keys.targetsDue, '0', '-1')
  const isDue = async () => Number(await store.redis.zscore(store.keys.targetsDue, target)) <= Date.now()
  await eventually('it is overdue', isDue)
  const counts = await Promise.all([webhooks.deliveries.feedDue(), webhooks.deliveries.feedDue()])
  expect(counts.toSorted()).toEqual([0, 1])
  await eventually(
    'it is handed out again, since nobody took it',
    async () => (await webhooks.deliveries.feedDue()) === 1,
  )
  const claim = await claimed(id)
  await finish(claim, 500, { state: 'pending', waitMs: 60_000 })
  expect(await webhooks.deliveries.feedDue()).toBe(0)
})

test('a delivery whose record is gone stays at no target', async () => {
  const { id } = await announced()
  await store.redis.del(store.keys.delivery(id))
  expect(await webhooks.deliveries.claim(id)).toEqual({ kind: 'gone' })
  await eventually('nothing is left of it', async () => {
    await webhooks.deliveries.feedDue()
    return (await store.redis.zcard(store.keys.targetsDue)) === 0
  })
})

test("a delivery can be read by its own tenant only, and shows no part of the receiver's address or answer", async () => {
  const { id } = await announced()
  expect(await webhooks.deliveryLog.read('other', id)).toBeNull()
  expect(JSON.stringify(await read(id))).not.toMatch(/canary|hook\.example/)
})

/** Two deliveries to one URL, taken; a third one is on its way. */
async function together() {
  const target = { kind: 'url' as const, hook: webhook }
  const ids = ['evt_1', 'evt_2', 'evt_3'].map((eventId) => store.ids.deliveryId(eventId, 'job'))
  const deliveries = ids.map((id) => ({ id, tenant: 'acme', eventId: 'evt_1', type: 'job.completed' as const, target, body: '{}' })) // oxfmt-ignore
  await webhooks.deliveries.create('job_many', { events: [], deliveries, isNews: true })
  return { claims: [await claimed(ids[0] ?? ''), await claimed(ids[1] ?? '')], third: ids[2] ?? '' }
}

test('who wants to be left alone for long is, though others wished less', async () => {
  const { claims, third } = await together()
  for (const [at, claim] of claims.entries()) {
    const attempt = { number: 1, startedMs: claim.startedMs, durationMs: 1, statusCode: 429, error: null }
    const restMs = at === 0 ? 60_000 : 1_000
    await webhooks.deliveries.finish(claim, attempt, { state: 'pending', waitMs: 0 }, { is: null, restMs })
  }
  const entry = await webhooks.entryOf(third)
  await webhooks.deliveries.putBack(entry, 1_000)
  const until = await store.redis.hget(store.keys.target(entry.targetId), 'rests_until')
  expect(Number(until) - Date.now()).toBeGreaterThan(50_000)
})

test('what is known of a target that failed is forgotten some day, also when nothing is sent there any more', async () => {
  const { claims: [first, last] } = await together() // oxfmt-ignore
  if (!first || !last) throw new Error('not taken')
  const key = store.keys.target(first.targetId)
  await store.redis.hset(key, 'failures', 4, 'failing_since', Date.now())
  await finish(first, 500, { state: 'exhausted' })
  await finish(last, 200, { state: 'delivered' })
  expect(await store.redis.hget(key, 'ramp_from')).not.toBeNull()
  expect(await store.redis.pttl(key)).toBeGreaterThan(DAY_MS)
})
