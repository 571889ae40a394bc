import { afterEach, beforeEach, expect, test } from 'vitest'
import { parseAccount } from '../../shared/tenants/accounts.ts'
import type { ChunkClaim } from '../../shared/batches/batch-claims.ts'
import { createTenants } from '../../shared/tenants/tenants.ts'
import { entryOf, lineEnd, NO_STATE, testBatchStore, type TestBatchStore } from '../support/batch-store.ts'

let store: TestBatchStore
beforeEach(async () => {
  store = await testBatchStore()
  await store.beat('w1', 100, 60_000)
})
afterEach(() => store.cleanup())

const limit = (usdPerDay: number, ofEach = {}) =>
  createTenants(store).create('acme', { limits: { usd_per_day: usdPerDay }, customer_limits: ofEach })

async function money(key = store.keys.account('acme')): Promise<{ held: number; spent: number }> {
  const { held, spent } = parseAccount(await store.redis.get(key))
  return { held, spent }
}

/** Begins a batch and claims its first chunk. */
async function claimed(lines: number, change: Parameters<TestBatchStore['begin']>[1] = {}) {
  const id = await store.begin(lines, change)
  await store.feed()
  return { id, claim: await store.claim() }
}

const start = (claim: ChunkClaim, lines: readonly number[], holdMicroUsd: number) =>
  Promise.all(lines.map((line) => store.claims.start(claim, line, NO_STATE, holdMicroUsd)))

const end = (line: number, cost: number) => ({ ...lineEnd(line), cost })

test('lines of a batch hold what they may cost until they end, and no more of them start than the budget has room for', async () => {
  await limit(0.001)
  const { claim } = await claimed(30)
  const words = await start(claim, claim.lines, 100)
  expect(words.filter((word) => word === 'started')).toHaveLength(10)
  expect(words.filter((word) => word === 'over_budget')).toHaveLength(claim.lines.length - 10)
  expect(await money()).toEqual({ held: 1_000, spent: 0 })
  // A second call of a line holds nothing more.
  expect(await start(claim, [0], 100)).toEqual(['started'])
  expect(await money()).toEqual({ held: 1_000, spent: 0 })

  const ends = Array.from({ length: 10 }, (_, line) => end(line, 0.000_01))
  await Promise.all(ends.map((one) => store.claims.settle(claim, one)))
  await Promise.all(ends.map((one) => store.claims.settle(claim, one)))
  expect(await money()).toEqual({ held: 0, spent: 100 })
  expect(await start(claim, [10], 900)).toEqual(['started'])
})

test('a line whose price is not known starts until all is spent', async () => {
  await limit(0.0001)
  const { claim } = await claimed(3)
  expect(await start(claim, [0], 0)).toEqual(['started'])
  await store.claims.settle(claim, end(0, 0.0001))
  expect(await start(claim, [1], 0)).toEqual(['over_budget'])
})

test('the budget of a customer holds for lines of his batches, and for nobody else’s', async () => {
  await limit(1, { usd_per_day: 0.0001 })
  const { claim } = await claimed(4, { customer: 'cust' })
  expect(await start(claim, [0, 1], 100)).toEqual(['started', 'over_budget'])
  const other = await claimed(4)
  expect(await start(other.claim, [0, 1], 100)).toEqual(['started', 'started'])
})

test('a line that is parked or given back holds nothing meanwhile, and what a lost worker held comes back with its lines', async () => {
  await limit(1)
  const { id, claim } = await claimed(4)
  await start(claim, [0, 1, 2, 3], 100)
  await store.claims.park(claim, 0, 60_000, NO_STATE)
  await store.claims.leave(claim, [1])
  expect(await money()).toEqual({ held: 200, spent: 0 })

  // Its worker is lost: another one has the chunk, with what is left of it.
  await store.redis.zadd(store.keys.batchWindow, 0, `${id} ${claim.chunk}`)
  const [lost] = await store.window.overdue()
  const again = await store.claim((lost && (await store.window.refeed(lost))) ?? undefined, 'w2')
  expect(again.lines).toEqual([2, 3])
  expect(await start(again, [2], 100)).toEqual(['started'])
  expect(await money()).toEqual({ held: 200, spent: 0 })
  // What the lost one had called comes in late, and counts.
  expect(await store.claims.settle(claim, end(2, 0.000_03))).toBe('settled')
  expect(await store.claims.settle(again, end(3, 0.000_04))).toBe('settled')
  expect(await money()).toEqual({ held: 0, spent: 70 })
})

test('a batch that ends without all of its lines gives back what they held', async () => {
  const { id, claim } = await claimed(2)
  await start(claim, [0, 1], 100)
  await store.ends.stop({ ...claim, id }, 'unreadable')
  await store.claims.settle(claim, end(0, 0.000_01))
  await store.claims.leave(claim, [])
  expect(await money()).toEqual({ held: 100, spent: 10 })
  // Its worker is lost, and its chunk with it.
  await store.redis.del(store.keys.batchChunk(id, claim.chunk))
  await store.redis.hset(store.keys.batch(id), 'live', '0')
  await store.ends.stop({ ...claim, id }, 'unreadable')
  const errors = [{ code: 'input_unreadable', message: '', param: null, line: null }]
  await store.ends.finish(await store.claim(), { output: 0, error: 0 }, errors)
  expect(await money()).toEqual({ held: 0, spent: 10 })
})

test('each line that ends tells once what it used, with its key, its customer and its model', async () => {
  const { claim } = await claimed(3, { customer: 'cust', key: 'key_7' })
  await start(claim, claim.lines, 0)
  const failed = { ...lineEnd(1, 'failed'), entry: entryOf(1, 'failed'), usage: null, cost: null }
  for (const one of [end(0, 0.5), end(0, 0.5), failed, failed]) await store.claims.settle(claim, one)
  const today = Math.floor(Date.now() / 86_400_000)
  expect(await store.redis.lrange(store.keys.usageNews, 0, -1)).toEqual([
    `${today} ${JSON.stringify(['acme', 'cust', 'key_7', 'm', 'completed', 3, 2, 500_000])}`,
    `${today} ${JSON.stringify(['acme', 'cust', 'key_7', 'm', 'failed', 0, 0, 0])}`,
  ])
})

test('jobs and lines of a tenant together are no more at once than it may have; each kind goes on when the other ends', async () => {
  const limits = { limits: { jobs_concurrent: 10 }, customer_limits: { jobs_concurrent: 3 } }
  await createTenants(store).create('acme', limits)
  const jobs: string[] = []
  const submit = async () => {
    const made = await store.jobs.create(store.jobInput())
    if (made.kind === 'created') jobs.push(made.id)
  }
  const running = async () => {
    const fields = ['acme', `acme ${store.ids.ownerId('acme', 'cust')}`]
    return (await store.redis.hmget(store.keys.batchBusy, ...fields)).map(Number)
  }
  for (let count = 0; count < 4; count += 1) await submit()
  await store.begin(40, { customer: 'cust' })
  const own = await store.begin(40)
  await store.feed()
  // Four jobs, three lines of a customer who may have three, and three of nobody's.
  expect(await running()).toEqual([6, 3])
  expect(await store.feed()).toEqual([])
  await submit()
  expect(await store.redis.hget(store.keys.busy, 'acme')).toBe('4')
  const claim = await store.claim(store.take(own, '1'))
  await store.claims.leave(claim, claim.lines)
  await submit()
  expect(await store.redis.hget(store.keys.busy, 'acme')).toBe('6')
  for (const id of jobs) await store.jobs.cancel('acme', id)
  await store.feed()
  expect(await running()).toEqual([10, 3])
})
