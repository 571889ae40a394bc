import { afterEach, beforeEach, expect, test } from 'vitest'
import { parseAccount } from '../../shared/tenants/accounts.ts'
import type { Admission, LimitNumbers } from '../../shared/tenants/admission.ts'
import { resultBytesOf } from '../../shared/jobs/call-costs.ts'
import type { CreateResult } from '../../shared/jobs/jobs.ts'
import { testStore, type TestStore } from '../support/store.ts'

let store: TestStore
beforeEach(() => {
  store = testStore()
})
afterEach(() => store.cleanup())

const NONE: LimitNumbers = { requestsPerMinute: null, jobsWaiting: null, bytesStored: null, microUsdPerDay: null } // oxfmt-ignore

function admission(
  tenant: Partial<LimitNumbers>,
  customer: Partial<LimitNumbers> | null = null,
  change: Partial<Admission> = {},
): Admission {
  return {
    tenant: { ...NONE, ...tenant },
    customer: customer && { ...NONE, ...customer },
    holdMicroUsd: 0,
    resultBytes: 0,
    ...change,
  }
}

const submit = (change: Parameters<TestStore['jobInput']>[0] = {}): Promise<CreateResult> =>
  store.jobs.create(store.jobInput(change))

const account = async (key: string) => parseAccount(await store.redis.get(key))

/** Runs the oldest entry that was queued, to the end. */
async function run(cost: number | null = null): Promise<string> {
  const fed = store.queued.shift()
  const claimed = fed && (await store.claims.claim(fed))
  if (claimed?.kind !== 'claimed') throw new Error('not claimed')
  const { id, subject, token } = claimed.claim
  const out = store.sealer.seal({ tenant: subject.tenant, kind: 'job', id, field: 'out' }, 'x'.repeat(500))
  const usage = { input_tokens: 3, output_tokens: 4, total_tokens: 7, cached_input_tokens: 0 }
  const ended = { out, usage, ...(cost === null ? {} : { cost }) }
  await store.settle.settle(subject, 'complete', token, 'completed', null, '', ended)
  return id
}

test('what is counted of jobs is what there is of them, and nothing once they are forgotten', async () => {
  const { keys, redis, ids } = store
  const customer = 'cust'
  await store.window.beat('w1', 10, 60_000)
  const mine = keys.customerAccount('acme', ids.ownerId('acme', customer))
  await submit({ customer, admission: admission({}, null, { resultBytes: 9000, holdMicroUsd: 700 }) })
  await submit()
  expect(await account(keys.account('acme'))).toMatchObject({ live: 2, reserved: 9000, held: 700, count: 2 })
  expect(await account(mine)).toMatchObject({ live: 1, reserved: 9000, held: 700, count: 1 })
  expect(await redis.hgetall(keys.busy)).toMatchObject({
    acme: '2',
    [`acme ${ids.ownerId('acme', customer)}`]: '1',
  })

  const forgotten = [await run(0.0005), await run()]
  const ended = await account(keys.account('acme'))
  expect(ended).toMatchObject({ live: 0, reserved: 0, held: 0, spent: 500 })
  const sizes = await Promise.all(forgotten.map((id) => redis.hget(keys.job(id), 'size')))
  expect(ended.bytes).toBe(sizes.reduce((sum, size) => sum + Number(size), 0))
  // The sealed result is in it; the prompt and the credentials are not.
  expect(Number(sizes[1])).toBeGreaterThan(1_100)
  expect(await redis.exists(keys.busy)).toBe(0)
  expect(await redis.hgetall(keys.account('*'))).toEqual({ reserved: '0' })

  for (const id of forgotten) await store.window.forget(id, 'acme', { isDue: true })
  expect(await account(keys.account('acme'))).toMatchObject({ live: 0, bytes: 0 })
  expect(await account(mine)).toMatchObject({ live: 0, bytes: 0 })
  expect(await redis.pttl(mine)).toBeGreaterThan(0)
})

test('a record that nobody came to forget for weeks is still there to be taken out of what is counted', async () => {
  await submit({ resultTtlMs: 60_000 })
  const id = await run()
  expect(await store.redis.pttl(store.keys.job(id))).toBeGreaterThan(29 * 86_400_000)
})

test('the end of a job tells once what it used', async () => {
  await submit({ customer: 'cust', keyId: 'key_1' })
  await run(0.25)
  const news = await store.redis.lrange(store.keys.usageNews, 0, -1)
  const today = Math.floor(Date.now() / 86_400_000)
  expect(news).toEqual([
    `${today} ${JSON.stringify(['acme', 'cust', 'key_1', 'main', 'completed', 3, 4, 250_000])}`,
  ])
})

test('a request over the limit of the minute is refused, stores nothing, and says when to come again', async () => {
  const limited = { admission: admission({ requestsPerMinute: 2 }) }
  expect(await submit(limited)).toMatchObject({ kind: 'created', used: { tenant: 1 } })
  expect(await submit(limited)).toMatchObject({ kind: 'created', used: { tenant: 2 } })
  const before = (await store.redis.keys(`${store.prefix}:*`)).toSorted()
  const refused = await submit({ ...limited, idempotency: { fingerprint: 'f', bodyHash: 'h' } })
  expect(refused).toMatchObject({ kind: 'refused', refusal: { whose: 'tenant', limit: 'requests' } })
  if (refused.kind !== 'refused') throw new Error('not refused')
  expect(refused.refusal.retryAfterMs).toBeGreaterThan(0)
  // Half of those of a minute have left the next one after 30 s of it.
  expect(refused.refusal.retryAfterMs).toBeLessThanOrEqual(90_000)
  expect(refused.refusal.used).toEqual({ tenant: 2, customer: 0 })
  expect((await store.redis.keys(`${store.prefix}:*`)).toSorted()).toEqual(before)
})

test('what was accepted under an idempotency key is answered also at the limit', async () => {
  const idempotency = { fingerprint: 'f', bodyHash: 'h' }
  const limited = { idempotency, admission: admission({ requestsPerMinute: 1 }) }
  const first = await submit(limited)
  expect(await submit(limited)).toEqual({ kind: 'replayed', id: 'id' in first ? first.id : '' })
})

const ofCustomer = (customer: string) => ({ customer, admission: admission({}, { requestsPerMinute: 1 }) })

test('a customer at his limit is refused, another one of the tenant is not', async () => {
  expect(await submit(ofCustomer('one'))).toMatchObject({ kind: 'created' })
  expect(await submit(ofCustomer('one'))).toMatchObject({ kind: 'refused', refusal: { whose: 'customer' } })
  expect(await submit(ofCustomer('two'))).toMatchObject({ kind: 'created' })
})

test('jobs that would wait are refused above the limit; those that run do not count', async () => {
  const limited = { admission: admission({ jobsWaiting: 1 }) }
  expect(await submit(limited)).toMatchObject({ kind: 'created' }) // straight in
  expect(await submit(limited)).toMatchObject({ kind: 'created' }) // waits
  expect(await submit(limited)).toMatchObject({ kind: 'refused', refusal: { limit: 'waiting' } })
  await run()
  store.queued.push(...(await store.window.feed()))
  expect(await submit(limited)).toMatchObject({ kind: 'created' })
})

test('bytes that are stored and bytes that are kept free for results count together', async () => {
  const limited = { admission: admission({ bytesStored: 10_000 }, null, { resultBytes: 5_000 }) }
  expect(await submit(limited)).toMatchObject({ kind: 'created' })
  expect(await submit(limited)).toMatchObject({ kind: 'refused', refusal: { limit: 'bytes' } })
  // Its result was shorter than what was kept for it.
  await run()
  expect(await submit(limited)).toMatchObject({ kind: 'created' })
})

test('two hundred submits at once hold no more than the budget of the day', async () => {
  const limited = { admission: admission({ microUsdPerDay: 10_000 }, null, { holdMicroUsd: 1_000 }) }
  const results = await Promise.all(Array.from({ length: 200 }, () => submit(limited)))
  expect(results.filter(({ kind }) => kind === 'created')).toHaveLength(10)
  const refused = results.find(({ kind }) => kind === 'refused')
  expect(refused).toMatchObject({ refusal: { limit: 'budget' } })
  // What they cost less than was held is there again.
  await run(0.0001)
  expect(await submit(limited)).toMatchObject({ kind: 'refused' })
  for (let count = 0; count < 9; count++) {
    store.queued.push(...(await store.window.feed()))
    await run(0.0001)
  }
  expect(await account(store.keys.account('acme'))).toMatchObject({ held: 0, spent: 1_000 })
  expect(await submit(limited)).toMatchObject({ kind: 'created' })
})

test('no more jobs of a tenant, or of a customer, are let in than may run at once', async () => {
  const { keys, redis, ids, window } = store
  await window.beat('w1', 100, 60_000)
  const inWindow = () => redis.zcard(keys.window)
  await redis.hset(keys.concurrency, 'acme', 3, 'acme *', 2, `acme ${ids.ownerId('acme', 'big')}`, 3)
  for (let count = 0; count < 4; count++) await submit({ customer: 'one' })
  expect(await inWindow()).toBe(2)
  for (let count = 0; count < 4; count++) await submit({ customer: 'big' })
  expect(await inWindow()).toBe(3)
  for (let count = 0; count < 4; count++) await submit({ tenant: 'other' })
  expect(await inWindow()).toBe(7)
  expect(await window.feed()).toEqual([])
  await run()
  expect(await window.feed()).toHaveLength(1)
})

const sameCall = (isRetry: boolean) => ({
  mode: 'sync' as const,
  sameCall: { fingerprint: 'same', isRetry },
})

test('a call that is sent again finds its job; another one of its kind is found before it is found twice', async () => {
  const made = [await submit(sameCall(false)), await submit(sameCall(false))].map((one) =>
    'id' in one ? one.id : '',
  )
  const found = [await submit(sameCall(true)), await submit(sameCall(true))]
  expect(found).toEqual(made.map((id) => ({ kind: 'attached', id })))
  await store.jobs.cancel('acme', made[0] ?? '')
  expect(await submit(sameCall(true))).toEqual({ kind: 'attached', id: made[1] })
  expect(await submit(sameCall(true))).toEqual({ kind: 'attached', id: made[1] })
})

test('a call that was never taken before makes its job, also when it says that it was sent before', async () => {
  const result = await submit({ mode: 'sync', sameCall: { fingerprint: 'new', isRetry: true } })
  expect(result).toMatchObject({ kind: 'created' })
})

test('a number of tokens with a fraction keeps whole bytes free, and counts no job that is not there', async () => {
  const resultBytes = resultBytesOf({ endpoint: 'chat', body: { max_tokens: 1_000.3 } })
  await submit({ admission: admission({}, null, { resultBytes }) })
  await run()
  expect(await account(store.keys.account('acme'))).toMatchObject({ live: 0, reserved: 0, count: 1 })
  expect(await store.redis.hgetall(store.keys.account('*'))).toEqual({ reserved: '0' })
})
