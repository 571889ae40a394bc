import { afterAll, expect, test } from 'vitest'
import { ConflictError } from '../../shared/errors.ts'
import { createIds } from '../../shared/ids.ts'
import { createKeys } from '../../shared/keys.ts'
import { createTenants } from '../../shared/tenants/tenants.ts'
import { testRedis } from '../support/redis.ts'

const own = testRedis()
const keys = createKeys(own.prefix)
const ids = createIds('an-id-secret-for-tests')
const tenants = createTenants({ redis: own.redis, keys, ids })
afterAll(() => own.cleanup())

const concurrencyOf = async (tenant: string) => {
  const all = await own.redis.hgetall(keys.concurrency)
  const mine = Object.entries(all).filter(([field]) => field === tenant || field.startsWith(`${tenant} `))
  return Object.fromEntries(mine)
}

const fieldOf = (customer: string | null) => `feeds ${ids.ownerId('feeds', customer)}`

const budgetsOf = (tenant: string) => own.redis.hmget(keys.budgets, tenant, `${tenant} *`)

test('a tenant is made once, and is as it was said', async () => {
  const settings = { name: 'Acme', limits: { usd_per_day: 5 }, retention: { results_seconds: 60 } }
  const made = await tenants.create('once', settings)
  expect(made).toMatchObject({ id: 'once', object: 'tenant', disabled_at: null, customers: {}, ...settings })
  expect(await tenants.get('once')).toEqual(made)
  await expect(tenants.create('once')).rejects.toThrow(ConflictError)
  await tenants.ensure('once')
  expect(await tenants.get('once')).toEqual(made)
  expect(await tenants.get('nobody')).toBeNull()
  expect(await tenants.update('nobody', () => ({ name: 'x' }))).toBeNull()
})

test('of two that make one tenant at once, one makes it', async () => {
  const tries = await Promise.allSettled([
    tenants.create('twice', { name: 'first' }),
    tenants.create('twice', { name: 'second' }),
  ])
  expect(tries.map(({ status }) => status).toSorted()).toEqual(['fulfilled', 'rejected'])
})

test('how many jobs at once stands where feeding looks for it, and goes with the limit', async () => {
  await tenants.create('feeds', {
    limits: { jobs_concurrent: 9 },
    customer_limits: { jobs_concurrent: 3 },
    customers: { alice: { jobs_concurrent: 5 }, bob: { jobs_concurrent: null }, carol: { jobs_waiting: 1 } },
  })
  expect(await concurrencyOf('feeds')).toEqual({
    feeds: '9',
    'feeds *': '3',
    [fieldOf('alice')]: '5',
    // Explicitly without one, though each has three.
    [fieldOf('bob')]: String(Number.MAX_SAFE_INTEGER),
    // What is no customer's is not held to their limit.
    [fieldOf(null)]: String(Number.MAX_SAFE_INTEGER),
  })
  await tenants.update('feeds', () => ({ limits: {}, customers: { alice: { jobs_concurrent: 0 } } }))
  expect(await concurrencyOf('feeds')).toEqual({
    'feeds *': '3',
    [fieldOf('alice')]: '0',
    [fieldOf(null)]: String(Number.MAX_SAFE_INTEGER),
  })
})

test('the budgets that lines of batches go by are written with the tenant, in millionths', async () => {
  const limits = { usd_per_day: 1.5 }
  await tenants.create('feeds-budget', { limits, customer_limits: { usd_per_day: 0.1 } })
  expect(await budgetsOf('feeds-budget')).toEqual(['1500000', '100000'])
  await tenants.update('feeds-budget', () => ({ limits: {}, customer_limits: {} }))
  expect(await budgetsOf('feeds-budget')).toEqual([null, null])
})

test('changes made at once are all there', async () => {
  await tenants.create('busy')
  const names = Array.from({ length: 8 }, (_, number) => `customer-${number}`)
  await Promise.all(
    names.map((name) =>
      tenants.update('busy', ({ customers }) => ({
        customers: { ...customers, [name]: { jobs_concurrent: 1 } },
      })),
    ),
  )
  expect(Object.keys((await tenants.get('busy'))?.customers ?? {}).toSorted()).toEqual(names)
  expect(Object.keys(await concurrencyOf('busy'))).toHaveLength(names.length)
})

test('a tenant is disabled since the first time that it was, and enabled again', async () => {
  await tenants.create('off')
  const first = await tenants.update('off', () => ({ disabled: true }))
  expect(first?.disabled_at).toBeGreaterThan(0)
  expect(await tenants.update('off', () => ({ disabled: true, name: 'Off' }))).toEqual({
    ...first,
    name: 'Off',
  })
  expect((await tenants.update('off', () => ({ name: null })))?.disabled_at).toBe(first?.disabled_at)
  expect((await tenants.update('off', () => ({ disabled: false })))?.disabled_at).toBeNull()
})

test('tenants are listed newest first, page by page, to the last one', async () => {
  const all = new Set<string>()
  let after: string | undefined
  for (;;) {
    const page = await tenants.list({ after, limit: 2 })
    for (const { id } of page?.tenants ?? []) all.add(id)
    if (!page?.hasMore) break
    after = page.tenants.at(-1)?.id
  }
  expect([...all]).toHaveLength(await own.redis.zcard(keys.tenantIndex))
  expect([...all].indexOf('off')).toBeLessThan([...all].indexOf('once'))
  expect(await tenants.list({ after: 'nobody', limit: 2 })).toBeNull()
})
