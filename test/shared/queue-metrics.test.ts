import { afterEach, beforeEach, expect, test } from 'vitest'
import { createWindow } from '../../shared/jobs/window.ts'
import { createQueueReader, PROGRESS_KEPT_MS, progressAgeMs } from '../../shared/metrics/queue-metrics.ts'
import { redisNowMs } from '../../shared/redis.ts'
import { testStore, type TestStore } from '../support/store.ts'

const MINUTE_MS = 60_000

let store: TestStore
beforeEach(() => {
  store = testStore()
})
afterEach(() => store.cleanup())

/** The queues as they stand when so much time has passed. */
async function readAfter(ms: number) {
  const at = (await redisNowMs(store.redis)) + ms
  return createQueueReader(store.redis, store.keys, () => at)()
}

async function submit(count: number, change: Parameters<TestStore['jobInput']>[0] = {}) {
  for (let made = 0; made < count; made++) await store.jobs.create(store.jobInput(change))
}

/** Without a worker the window has room for so many. */
async function fillWindow() {
  for (let tenant = 0; tenant < 32; tenant++) await submit(1, { tenant: `t${tenant}` })
}

test('what waits is counted by priority over all tenants and customers, and its oldest age told', async () => {
  await fillWindow()
  await submit(4, { tenant: 'first', priority: 'low' })
  await submit(3, { tenant: 'second', customer: 'a', priority: 'high' })
  await submit(2, { tenant: 'second', customer: 'b' })
  const { window, waiting, oldestMs } = await readAfter(MINUTE_MS)
  expect({ window, waiting }).toEqual({ window: 32, waiting: [3, 2, 4] })
  expect(oldestMs.every((age) => age !== null && age >= MINUTE_MS - 1 && age < 2 * MINUTE_MS)).toBe(true)
})

test('a job that was delayed has waited only since its time came', async () => {
  await fillWindow()
  await submit(1, { tenant: 'first' })
  await submit(1, { tenant: 'other', priority: 'high', delayMs: MINUTE_MS, expiresInMs: 100 * MINUTE_MS })
  expect(await readAfter(0)).toMatchObject({ parked: 1, oldestMs: [null, expect.any(Number), null] })
  const at = (await redisNowMs(store.redis)) + 3 * MINUTE_MS
  await createWindow(store.redis, store.keys, () => at).wake()
  const { parked, oldestMs } = await createQueueReader(store.redis, store.keys, () => at)()
  expect(parked).toBe(0)
  const [delayed = 0, other = 0] = oldestMs.map(Number)
  expect(delayed).toBeGreaterThan(MINUTE_MS)
  expect(other - delayed).toBeGreaterThanOrEqual(MINUTE_MS)
})

test('of very many customers a part is looked at, and stands for all', async () => {
  await store.window.beat('worker', 1, 10_000)
  for (let customer = 0; customer < 100; customer++) await submit(1, { customer: `c${customer}` })
  const { window, waiting } = await readAfter(0)
  expect(window + waiting[1]).toBe(100)
})

test('a long line of several priorities is counted whole, and the oldest of each found', async () => {
  await fillWindow()
  await submit(7, { tenant: 'first', priority: 'high' })
  await submit(9, { tenant: 'first', priority: 'low' })
  await submit(6, { tenant: 'second' })
  const { waiting, oldestMs } = await readAfter(MINUTE_MS)
  expect(waiting).toEqual([7, 6, 9])
  expect(oldestMs.map((age) => Number(age) >= MINUTE_MS - 1)).toEqual([true, true, true])
})

test('nothing gets ahead: the age grows from when the first entry should have been claimed; it is 0 with nothing to do', async () => {
  expect(progressAgeMs(await readAfter(MINUTE_MS))).toBe(0)
  await submit(1)
  expect(progressAgeMs(await readAfter(0))).toBe(0)
  const stuck = progressAgeMs(await readAfter(MINUTE_MS))
  expect(stuck).toBeGreaterThan(MINUTE_MS - 5_000)
  expect(stuck).toBeLessThanOrEqual(MINUTE_MS)
  // Somewhere else something did: only this entry is overdue.
  await store.redis.set(store.keys.progress, 1, 'PX', PROGRESS_KEPT_MS)
  const state = await readAfter(0)
  expect(state.sinceProgressMs).toBeLessThan(MINUTE_MS / 2)
  expect(progressAgeMs({ ...state, overdueMs: { ...state.overdueMs, window: 50 * MINUTE_MS } })).toBe(
    state.sinceProgressMs,
  )
})

test('a job that a worker runs is no sign of trouble, however long it takes', async () => {
  await fillWindow()
  await submit(1)
  for (const job of store.queued) await store.claims.claim(job)
  const state = await readAfter(0)
  expect(state.waiting[1]).toBeGreaterThan(0)
  expect(progressAgeMs(state)).toBe(0)
})

test('a worker that fell silent is not counted any more', async () => {
  await store.window.beat('worker', 20, 10_000)
  expect(await readAfter(0)).toMatchObject({ workers: 1, slots: 20 })
  expect(await readAfter(MINUTE_MS)).toMatchObject({ workers: 0 })
})
