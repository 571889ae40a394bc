import { afterEach, beforeEach, expect, test } from 'vitest'
import { formatUsage, usedOf, type UsageSubject } from '../../shared/tenants/usage-news.ts'
import { createUsage, DAY_MS, type UsageStore } from '../../shared/tenants/usage.ts'
import { testStore, type TestStore } from '../support/store.ts'

const TODAY = Math.floor(Date.now() / DAY_MS)
const EXPORTED = { isExported: true }

let store: TestStore
let usage: UsageStore
beforeEach(() => {
  store = testStore()
  usage = createUsage(store)
})
afterEach(() => store.cleanup())

const subject = (change: Partial<UsageSubject> = {}): UsageSubject => ({
  tenant: 'acme',
  customer: null,
  key: 'key_1',
  model: 'gpt',
  status: 'completed',
  ...change,
})

const news = (of: UsageSubject, cost = 0.000_000_2, day = TODAY) => {
  const tokens = { input_tokens: 3, output_tokens: 4 }
  return `${day} ${formatUsage(of, usedOf(tokens, cost))}`
}

async function tell(...lines: string[]): Promise<void> {
  await store.redis.rpush(store.keys.usageNews, ...lines)
}

test('what is told is summed up once, by customer, key and model, also of a fraction of a millionth', async () => {
  const one = news(subject({ customer: 'cust' }))
  await tell(...Array.from({ length: 700 }, () => one), news(subject({ status: 'failed' }), 0))
  expect(await usage.fold(EXPORTED)).toBe(true)
  await tell(one, news(subject({ tenant: 'other', customer: 'cust' })))
  expect(await usage.fold(EXPORTED)).toBe(true)
  expect(await usage.fold(EXPORTED)).toBe(true)
  expect(await usage.read({ tenant: 'acme', day: TODAY })).toEqual([
    {
      customer: 'cust', key: 'key_1', model: 'gpt', requests: 701, completed: 701, inputTokens: 2_103,
      outputTokens: 2_804, costUsd: 0.000_140_2,
    }, // oxfmt-ignore
    {
      customer: null, key: 'key_1', model: 'gpt', requests: 1, completed: 0, inputTokens: 3, outputTokens: 4,
      costUsd: 0,
    }, // oxfmt-ignore
  ])
  expect(await usage.read({ tenant: 'other', day: TODAY })).toHaveLength(1)
  const left = await store.redis.pttl(store.keys.usageOf('acme', String(TODAY)))
  expect(left).toBeGreaterThan(92 * DAY_MS)
  expect(left).toBeLessThanOrEqual(94 * DAY_MS)
})

test('ten folders at once, cut off wherever, sum up each of the news once', async () => {
  const told = Array.from({ length: 3_000 }, (_, number) => news(subject({ model: `m${number % 7}` }), 0.25))
  await tell(...told)
  // Each has a connection of its own, of which half are lost on the way.
  const folders = Array.from({ length: 10 }, () => store.redis.duplicate({ retryStrategy: () => null }))
  folders.forEach((one) => one.on('error', () => {}))
  const folding = folders.map((redis) => createUsage({ redis, keys: store.keys }).fold(EXPORTED))
  folders.forEach((redis, number) => number % 2 === 0 && redis.disconnect())
  await Promise.allSettled(folding)
  folders.forEach((redis) => redis.disconnect())
  expect(await usage.fold(EXPORTED)).toBe(true)
  const sums = await usage.read({ tenant: 'acme', day: TODAY })
  expect(sums.map(({ model }) => model)).toEqual(['m0', 'm1', 'm2', 'm3', 'm4', 'm5', 'm6'])
  expect(sums.reduce((sum, { requests }) => sum + requests, 0)).toBe(3_000)
  expect(sums.reduce((sum, { costUsd }) => sum + costUsd, 0)).toBe(750)
})

test('a day has ten thousand combinations at most: what is beyond is summed up under `*`', async () => {
  const [key, field] = [store.keys.usageOf('acme', String(TODAY)), (name: string) => JSON.stringify([name, 'k', 'm'])] // oxfmt-ignore
  const many = Array.from({ length: 10_000 }, (_, number) => [field(`c${number}`), '1 1 1 1 1'])
  await store.redis.hset(key, ...many.flat())
  const known = subject({ customer: 'c1', key: 'k', model: 'm' })
  await tell(news(known), news(subject({ customer: 'new' })), news(subject({ customer: 'newer' })))
  await usage.fold(EXPORTED)
  const sums = await usage.read({ tenant: 'acme', day: TODAY })
  expect(sums).toHaveLength(10_001)
  expect(sums.find(({ customer }) => customer === '*')).toMatchObject({ key: '*', model: '*', requests: 2 })
  expect(sums.find(({ customer }) => customer === 'c1')).toMatchObject({ requests: 2 })
})

test('a day is taken when it is over, by one, until it is done or its taker is given up', async () => {
  await tell(news(subject(), 1, TODAY - 1), news(subject()), news(subject({ tenant: 'other' }), 1, TODAY - 1))
  await usage.fold(EXPORTED)
  const over = [
    { tenant: 'acme', day: TODAY - 1 },
    { tenant: 'other', day: TODAY - 1 },
  ]
  const taken = await Promise.all([usage.takeDays(10, 60_000), usage.takeDays(10, 60_000)])
  expect(taken.flat()).toEqual(over)
  await usage.dayDone({ tenant: 'other', day: TODAY - 1 })
  await store.redis.zadd(store.keys.usageDays, 'XX', 1, `${TODAY - 1} acme`)
  expect(await usage.takeDays(10, 60_000)).toEqual(over.slice(0, 1))
})

test('without exports no day is noted to be exported', async () => {
  await tell(news(subject(), 1, TODAY - 1))
  await usage.fold({ isExported: false })
  expect(await store.redis.exists(store.keys.usageDays)).toBe(0)
  expect(await usage.read({ tenant: 'acme', day: TODAY - 1 })).toHaveLength(1)
})

test('names that no text can hold are summed up as well, and cost nobody else its news', async () => {
  const broken = { model: 'gpt \ud83d', customer: '\udc00' }
  await tell(news(subject()), news(subject(broken)), news(subject({ tenant: 'other' })))
  expect(await usage.fold(EXPORTED)).toBe(true)
  expect(await usage.read({ tenant: 'acme', day: TODAY })).toHaveLength(2)
  expect(await usage.read({ tenant: 'other', day: TODAY })).toHaveLength(1)
})
