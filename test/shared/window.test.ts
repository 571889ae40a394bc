import { afterEach, beforeEach, expect, test } from 'vitest'
import { createSettledListener } from '../../shared/jobs/settled.ts'
import { eventually } from '../support/eventually.ts'
import { testStore, type TestStore } from '../support/store.ts'

let store: TestStore
beforeEach(() => {
  store = testStore()
})
afterEach(() => store.cleanup())

async function submit(
  tenant: string,
  count: number,
  customer: string | null = null,
  priority: 'high' | 'normal' | 'low' = 'normal',
) {
  const ids: string[] = []
  for (let made = 0; made < count; made++) {
    const result = await store.jobs.create(store.jobInput({ tenant, customer, priority }))
    if ('id' in result) ids.push(result.id)
  }
  return ids
}

async function settleAll(jobs: { id: string; generation: number }[]) {
  for (const job of jobs) {
    const result = await store.claims.claim(job)
    if (result.kind !== 'claimed') throw new Error(result.kind)
    await store.settle.settle(result.claim.subject, 'claim', result.claim.token, 'failed', null, '')
  }
}

async function tenantsOf(jobs: { id: string }[]): Promise<string[]> {
  return Promise.all(jobs.map(async ({ id }) => (await store.redis.hget(store.keys.job(id), 'tenant')) ?? ''))
}

test('one tenant never fills the last slots: another tenant always finds room at once', async () => {
  await store.window.beat('w1', 100, 10_000)
  await submit('heavy', 300)
  const inWindow = () => store.redis.zcard(store.keys.window)
  expect(await inWindow()).toBe(85)
  await submit('light', 1)
  expect(await inWindow()).toBe(86)
})

test('while others wait no tenant holds more than half of the slots', async () => {
  await store.window.beat('w1', 20, 10_000)
  await submit('heavy', 100)
  await submit('second', 100)
  await submit('third', 100)
  // A long turn-over: every settled place is given away again.
  for (let round = 0; round < 60; round++) {
    const [oldest] = store.queued.splice(0, 1)
    if (oldest) await settleAll([oldest])
    store.queued.push(...(await store.window.feed()))
  }
  const held = await store.redis.hgetall(store.keys.busy)
  expect(Math.max(...Object.values(held).map(Number))).toBeLessThanOrEqual(10)
})

test('waiting jobs are let in round robin over tenants, and over customers within one', async () => {
  await store.window.beat('w1', 4, 10_000)
  await submit('a', 30, 'a1')
  await submit('b', 30)
  await submit('a', 10, 'a2')
  await settleAll(store.queued.splice(0))
  const fed: { id: string; generation: number }[] = []
  for (let round = 0; round < 8; round++) {
    const more = await store.window.feed()
    fed.push(...more)
    await settleAll(more)
  }
  const tenants = await tenantsOf(fed)
  const shareOfB = tenants.filter((tenant) => tenant === 'b').length / tenants.length
  expect(shareOfB).toBeGreaterThan(0.4)
  expect(shareOfB).toBeLessThan(0.6)
  const ofA = fed.filter((_, at) => tenants[at] === 'a')
  const metas = await Promise.all(ofA.map(({ id }) => store.redis.hget(store.keys.job(id), 'meta')))
  const shareOfA2 = metas.filter((meta) => meta?.includes('"a2"')).length / metas.length
  expect(shareOfA2).toBeGreaterThan(0.35)
})

test('of an owner that has all three waiting, high, normal and low get 8, 4 and 1 of 13 turns', async () => {
  const [first] = await submit('a', 1)
  const jobs = { low: await submit('a', 16, null, 'low'), normal: await submit('a', 16), high: await submit('a', 16, null, 'high') } // oxfmt-ignore
  const order: string[] = []
  await settleAll(store.queued.splice(0))
  while (order.length < 26) {
    const fed = await store.window.feed(1)
    order.push(...fed.map(({ id }) => id))
    await settleAll(fed)
  }
  expect(first).toBeDefined()
  const turns = Object.entries(jobs).map(([name, ids]) => [
    name,
    order.filter((id) => ids.includes(id)).length,
  ])
  expect(Object.fromEntries(turns)).toEqual({ high: 16, normal: 8, low: 2 })
  // Of one priority the older one comes first.
  const normal = order.filter((id) => jobs.normal.includes(id))
  expect(normal).toEqual(jobs.normal.slice(0, 8))
})

test('where one priority waits alone, it has all turns, and nothing is noted of them', async () => {
  await submit('a', 5, null, 'low')
  await settleAll(store.queued.splice(0))
  expect(await store.window.feed()).not.toEqual([])
  expect(await store.redis.exists(store.keys.turns)).toBe(0)
})

test('when all jobs ended nothing of them is left in the rings, the window or the counts', async () => {
  await store.window.beat('w1', 4, 10_000)
  const ids = [...(await submit('a', 12, 'c1')), ...(await submit('b', 12)), ...(await submit('a', 3, 'c2'))]
  for (const id of ids.slice(-2)) await store.jobs.cancel('a', id)
  for (let left = store.queued.splice(0); left.length > 0; left = await store.window.feed())
    await settleAll(left)
  const { keys, redis } = store
  const counts = [
    await redis.zcard(keys.window), await redis.hlen(keys.busy), await redis.llen(keys.tenants),
    await redis.zcard(keys.parked),
    (await redis.keys(`${keys.waitingPrefix}*`)).length, (await redis.keys(`${keys.ownersPrefix}*`)).length,
  ] // oxfmt-ignore
  expect(counts).toEqual([0, 0, 0, 0, 0, 0])
  for (const id of ids) expect((await redis.hget(keys.job(id), 'status'))?.length).toBeGreaterThan(5)
})

test('two feeds at once let in no job twice', async () => {
  await submit('a', 40)
  await submit('b', 40)
  await store.window.beat('w1', 60, 10_000)
  const fed = (await Promise.all([store.window.feed(), store.window.feed(), store.window.feed()])).flat()
  expect(new Set(fed.map(({ id }) => id)).size).toBe(fed.length)
  expect(fed.length).toBeGreaterThan(40)
})

test('slots are those of all live workers; one that fell silent or left is not counted', async () => {
  expect(await store.window.beat('w1', 10, 10_000)).toBe(10)
  expect(await store.window.beat('w2', 5, 10_000)).toBe(15)
  expect(await store.window.beat('w2', 0, 10_000)).toBe(10)
  await store.redis.zadd(store.keys.workers, 1, 'w1')
  expect(await store.window.beat('w3', 3, 10_000)).toBe(3)
})

test('one sweeper at a time', async () => {
  expect(await Promise.all(['w1', 'w2', 'w3'].map((id) => store.window.holdSweeper(id, 5_000)))).toEqual([
    true,
    false,
    false,
  ])
  expect(await store.window.holdSweeper('w1', 5_000)).toBe(true)
})

/** Submits a job, claims it, and puts it back for a minute. */
async function park(tenant: string): Promise<string> {
  const [id = ''] = await submit(tenant, 1)
  const fed = store.queued.find((job) => job.id === id)
  const result = fed && (await store.claims.claim(fed))
  if (result?.kind !== 'claimed') throw new Error('not claimed')
  await store.claims.snooze(result.claim, 60_000, 'rate_limited', [])
  return id
}

test('parked jobs that are called by name go on at once, in the fair way, and nobody else does', async () => {
  await store.window.beat('w1', 10, 10_000)
  const [first, second] = [await park('a'), await park('a')]
  expect(await store.window.wakeNow([first])).toEqual([])
  expect(await store.window.wakeNow([first])).toEqual([])
  expect((await store.window.feed()).map(({ id }) => id)).toEqual([first])
  await Promise.all([store.window.wakeNow([second]), store.window.wakeNow([second])])
  expect((await store.window.feed()).map(({ id }) => id)).toEqual([second])
  expect(await store.redis.zcard(store.keys.parked)).toBe(0)
})

test('who calls jobs by name hears which of them have ended, are being cancelled, or are gone', async () => {
  await store.window.beat('w1', 10, 10_000)
  const [ended, running, cancelled] = await submit('a', 3)
  const waiting = await park('a')
  const [first] = store.queued
  if (!first || !ended || !running || !cancelled) throw new Error('not enqueued')
  await settleAll([first])
  for (const job of store.queued.slice(1, 3)) await store.claims.claim(job)
  await store.jobs.cancel('a', cancelled)
  expect(await store.window.wakeNow([ended, running, cancelled, waiting, 'gone'])).toEqual([
    ended,
    cancelled,
    'gone',
  ])
})

test('jobs in the hands of a worker are called over the channel', async () => {
  await store.window.beat('w1', 10, 10_000)
  const [id = ''] = await submit('a', 1)
  const [job] = store.queued
  if (job) await store.claims.claim(job)
  const subscriber = store.redis.duplicate()
  const listener = createSettledListener(subscriber, store.keys)
  const heard: string[] = []
  listener.onWake((jobId) => heard.push(jobId))
  await listener.start()
  await store.window.wakeNow([await park('a'), id])
  await eventually('the word came', () => heard.length > 0)
  expect(heard).toEqual([id])
  listener.close()
  subscriber.disconnect()
})

test('one who has room is let in at once, however many others are at their limits before him', async () => {
  await store.window.beat('w1', 1_000, 10_000)
  await store.redis.hset(store.keys.concurrency, 'a *', 0)
  for (let customer = 0; customer < 100; customer += 1) await submit('a', 1, `c${customer}`)
  await store.redis.hset(store.keys.concurrency, `a ${store.ids.ownerId('a', 'free')}`, 5)
  await submit('a', 1, 'free')
  await store.window.feed()
  expect(store.queued).toHaveLength(1)
})
