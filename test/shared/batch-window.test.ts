import { afterEach, beforeEach, expect, test } from 'vitest'
import type { ChunkClaim } from '../../shared/batches/batch-claims.ts'
import { lineEnd, NO_STATE, testBatchStore, type TestBatchStore } from '../support/batch-store.ts'

let store: TestBatchStore
beforeEach(async () => {
  store = await testBatchStore()
})
afterEach(() => store.cleanup())

async function settleAll(claim: ChunkClaim, lines = claim.lines): Promise<void> {
  await Promise.all(lines.map((line) => store.claims.settle(claim, lineEnd(line))))
}

test('a batch is cut into chunks of its lines in their order, and each line is in one of them', async () => {
  await store.beat('w1', 500, 10_000)
  await store.begin(250)
  await store.feed()
  const claims = [await store.claim(), await store.claim(), await store.claim()]
  expect(claims.flatMap(({ lines }) => lines)).toEqual(Array.from({ length: 250 }, (_, line) => line))
  expect(claims.map(({ width }) => width)).toEqual([50, 50, 50])
  expect(await store.feed()).toEqual([])
})

test('one tenant never has more in flight than 85% of the slots: another always finds room at once', async () => {
  await store.beat('w1', 400, 10_000)
  await store.begin(50_000, { tenant: 'heavy' })
  for (let round = 0; round < 20; round++) await store.feed()
  expect(Number(await store.redis.hget(store.keys.batchBusy, 'heavy'))).toBeLessThanOrEqual(340)
  const light = await store.begin(10, { tenant: 'light' })
  const fed = await store.feed()
  expect(fed.map(({ batchId }) => batchId)).toEqual([light])
})

test('while others wait no tenant gets more than half of the slots, and a heavy one goes on among many light ones', async () => {
  await store.beat('w1', 80, 10_000)
  const heavy = await store.begin(2_000, { tenant: 'heavy' })
  await store.feed()
  await Promise.all(Array.from({ length: 200 }, (_, index) => store.begin(2, { tenant: `light-${index}` })))
  let heavyLines = 0
  let peak = 0
  for (let turn = 0; turn < 300; turn++) {
    const claim = await store.claim()
    if (claim.batchId === heavy) heavyLines += claim.lines.length
    await settleAll(claim)
    await store.feed()
    if (turn > 20) peak = Math.max(peak, Number(await store.redis.hget(store.keys.batchBusy, 'heavy')))
  }
  expect(heavyLines).toBeGreaterThan(20)
  expect(peak).toBeLessThanOrEqual(40)
})

test('two batches of one owner take turns, and a batch of higher priority goes first', async () => {
  await store.beat('w1', 16, 10_000)
  const low = await store.begin(100, { priority: 'low' })
  const first = await store.begin(100)
  const second = await store.begin(100)
  const order: string[] = []
  for (let turn = 0; turn < 8; turn++) {
    await store.feed()
    const claim = await store.claim()
    order.push(claim.batchId)
    await settleAll(claim)
  }
  expect(order).not.toContain(low)
  expect(order.filter((id) => id === first).length).toBeGreaterThan(2)
  expect(order.filter((id) => id === second).length).toBeGreaterThan(2)
})

test('a batch has no more lines in flight than its own concurrency, and is not cut to slivers by it', async () => {
  await store.beat('w1', 500, 10_000)
  const id = await store.begin(400, { concurrency: 10 })
  let chunks = 0
  const inFlight = async () => Number(await store.redis.hget(store.keys.batch(id), 'inflight'))
  for (await store.feed(); store.queued.length > 0 && store.queued[0]?.chunk !== 'f'; await store.feed()) {
    const claim = await store.claim()
    chunks += 1
    for (const line of claim.lines) {
      await store.claims.settle(claim, lineEnd(line))
      await store.feed()
      expect(await inFlight()).toBeLessThanOrEqual(10)
    }
  }
  expect(store.queued.map(({ chunk }) => chunk)).toEqual(['f'])
  expect(chunks).toBeLessThan(60)
})

test('a parked line comes back when it is due, before new lines, and frees its place meanwhile', async () => {
  await store.beat('w1', 8, 10_000)
  const id = await store.begin(100)
  await store.feed()
  const claim = await store.claim()
  const [parked = -1, ...others] = claim.lines
  expect(await store.claims.park(claim, parked, 0, { ...NO_STATE, attemptsMade: 3 })).toBe('parked')
  expect((await store.batches.read('acme', id))?.parked).toBe(1)
  await settleAll(claim, others)
  store.queued.length = 0
  await store.window.wake()
  await store.feed()
  const again = await store.claim()
  expect(again.lines).toEqual([parked])
  expect(again.states.get(parked)?.attemptsMade).toBe(3)
})

test('a line that waits for its time is left alone until then, and its batch does not end without it', async () => {
  await store.beat('w1', 100, 10_000)
  const id = await store.begin(2)
  await store.feed()
  const claim = await store.claim()
  await store.claims.settle(claim, lineEnd(0))
  await store.claims.park(claim, 1, 30_000, NO_STATE)
  await store.window.wake()
  expect(await store.feed()).toEqual([])
  expect(store.queued).toEqual([])
  expect((await store.batches.read('acme', id))?.status).toBe('in_progress')
  // A place at a deployment that is handed to it makes it go on at once.
  const lineId = `batch_req_${id.slice('batch_'.length)}_1`
  expect(await store.window.wakeLines([lineId])).toEqual([])
  await store.window.wake()
  await store.feed()
  await settleAll(await store.claim())
  expect(store.queued.map(({ chunk }) => chunk)).toEqual(['f'])
  expect(await store.window.wakeLines([lineId])).toEqual([lineId])
})

test('with a thousand lines parked a batch takes no new ones until some come back', async () => {
  await store.beat('w1', 500, 10_000)
  await store.begin(1_500)
  for (await store.feed(); store.queued.length > 0; await store.feed()) {
    const claim = await store.claim()
    await Promise.all(claim.lines.map((line) => store.claims.park(claim, line, 60_000, NO_STATE)))
  }
  const [id = ''] = await store.redis.zrange(store.keys.batchParkedDue, '0', '0')
  const parked = await store.redis.zcard(store.keys.batchParked(id))
  expect(parked).toBeLessThan(1_200)
  expect(parked).toBeGreaterThanOrEqual(1_000)
  await store.redis.zadd(store.keys.batchParked(id), '0', '5')
  await store.redis.zadd(store.keys.batchParkedDue, '0', id)
  await store.window.wake()
  await store.feed()
  expect((await store.claim()).lines).toEqual([5])
})

test('a chunk whose entry was lost is fed anew; the old entry is stale', async () => {
  await store.beat('w1', 100, 10_000)
  const id = await store.begin(4)
  const [lost] = await store.feed()
  if (!lost) throw new Error('nothing was fed')
  expect(await store.window.refeed(lost)).toBeNull()
  await store.redis.zadd(store.keys.batchWindow, 0, `${id} ${lost.chunk}`)
  expect(await store.window.overdue()).toEqual([lost])
  const again = await store.window.refeed(lost)
  expect(again).toEqual({ ...lost, generation: 2 })
  const positions = { output: 0, error: 0 }
  expect(await store.claims.claim(lost, { workerId: 'w1', positions })).toEqual({ kind: 'stale' })
  expect((await store.claim(again ?? undefined)).lines).toEqual([0, 1, 2, 3])
})

test('a batch whose time is over is found, and one that ended is forgotten when its retention is over', async () => {
  const id = await store.create({ windowMs: 1 })
  await expect.poll(() => store.window.due()).toMatchObject([{ id, tenant: 'acme', hasEnded: false }])
  await store.ends.refuse(await store.claim(), [])
  expect(await store.window.due()).toEqual([])
  await store.redis.zadd(store.keys.batchDue, 0, id)
  await store.redis.hset(store.keys.batch(id), 'expires', '1')
  const [due] = await store.window.due()
  expect(due).toMatchObject({ id, hasEnded: true })
  expect(due && (await store.window.forget(due))).toBe(true)
  expect(await store.batches.read('acme', id)).toBeNull()
  expect(await store.batches.list('acme', { limit: 10 })).toEqual({ batches: [], hasMore: false })
})

test('lines of one who has room start at once, however many others are at their limits before him', async () => {
  await store.beat('w1', 1_000, 60_000)
  await store.redis.hset(store.keys.concurrency, 'acme *', 0)
  for (let customer = 0; customer < 45; customer += 1) await store.begin(1, { customer: `c${customer}` })
  await store.redis.hset(store.keys.concurrency, `acme ${store.ids.ownerId('acme', 'free')}`, 5)
  const id = await store.begin(1, { customer: 'free' })
  expect(await store.feed()).toMatchObject([{ batchId: id }])
})
