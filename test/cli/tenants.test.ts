import { afterAll, beforeAll, expect, test } from 'vitest'
import { createApiKeys, hashApiKey } from '../../shared/tenants/api-keys.ts'
import { createIds } from '../../shared/ids.ts'
import { createKeys } from '../../shared/keys.ts'
import { createTenants } from '../../shared/tenants/tenants.ts'
import { testRedis } from '../support/redis.ts'
import { createMachine, type Machine } from './one-machine.ts'

const own = testRedis()
const keys = createKeys(own.prefix)
const secret = 'an-id-secret-for-tests'
const ids = createIds(secret)
const tenants = createTenants({ redis: own.redis, keys, ids })
const apiKeys = createApiKeys({ redis: own.redis, keys })
let machine: Machine
beforeAll(async () => {
  machine = await createMachine()
})
afterAll(async () => {
  await machine?.cleanup()
  await own.cleanup()
})

const run = (args: string[], extra: Record<string, string> = {}) =>
  machine.run(args, { REDIS_URL: own.url, GATEWAY_KEY_PREFIX: own.prefix, ...extra })

test('a tenant is made, limited, shown, listed, disabled and enabled', async () => {
  const limits = ['--limit', 'jobs_waiting=50', '--limit', 'usd_per_day=2.5']
  const retention = ['--retention', 'results_seconds=7d', '--retention', 'results_bytes=1000']
  const made = await run(['tenants', 'create', 'acme', '--name', 'Acme', ...limits, ...retention])
  expect(made.code, made.output).toBe(0)
  expect(JSON.parse(made.output)).toMatchObject({
    id: 'acme',
    name: 'Acme',
    limits: { jobs_waiting: 50, usd_per_day: 2.5 },
    retention: { results_seconds: 604_800, results_bytes: 1000 },
  })
  const set = await run([
    'tenants',
    'set',
    'acme',
    '--limit',
    'jobs_waiting=',
    '--limit',
    'bytes_stored=none',
  ])
  expect(JSON.parse(set.output).limits).toEqual({ usd_per_day: 2.5, bytes_stored: null })
  const each = await run(['tenants', 'set', 'acme', '--each-customer', '--limit', 'jobs_waiting=3'])
  expect(JSON.parse(each.output)).toMatchObject({
    limits: { usd_per_day: 2.5 },
    customer_limits: { jobs_waiting: 3 },
  })
  expect(JSON.parse((await run(['tenants', 'show', 'acme'])).output)).toEqual(await tenants.get('acme'))

  const sure = await run(['tenants', 'set', 'acme', '--durability', 'fsync'])
  // The run's Redis can't promise that.
  expect(sure).toMatchObject({ code: 1, output: expect.stringContaining('durability') })
  expect(await tenants.get('acme')).toMatchObject({ durability: 'default' })

  expect((await run(['tenants', 'disable', 'acme'])).output).toBe('acme is disabled.\n')
  expect((await run(['tenants', 'list'])).output).toMatch(/^acme\t\S+Z\tdisabled\tAcme$/m)
  expect((await run(['tenants', 'enable', 'acme'])).output).toBe('acme is enabled.\n')
  expect((await tenants.get('acme'))?.disabled_at).toBeNull()
})

test("a customer's limits are kept under the gateway's own secret, which is asked for", async () => {
  await tenants.create('named')
  const set = ['tenants', 'set', 'named', '--customer', 'Zoë & co', '--limit', 'jobs_concurrent=2']
  const without = await run(set)
  expect(without).toMatchObject({ code: 1, output: expect.stringContaining('GATEWAY_ID_SECRET') })
  expect((await tenants.get('named'))?.customers).toEqual({})
  expect((await run(set, { GATEWAY_ID_SECRET: secret })).code).toBe(0)
  expect((await tenants.get('named'))?.customers).toEqual({ 'Zoë & co': { jobs_concurrent: 2 } })
  expect(await own.redis.hget(keys.concurrency, `named ${ids.ownerId('named', 'Zoë & co')}`)).toBe('2')
})

test('a key is made for what is said, with its tenant, and listed so', async () => {
  const made = await run(['keys', 'create', '--tenant', 'fresh', '--expires-in', '30d', '--scope', 'read',
    '--model', 'gpt-4o*', '--model', 'house', '--endpoint', '/v1/embeddings']) // oxfmt-ignore
  expect(made.code, made.output).toBe(0)
  const key = await apiKeys.find(hashApiKey(made.output.trim()))
  expect(key).toMatchObject({
    tenant: 'fresh',
    scopes: ['read'],
    models: ['gpt-4o*', 'house'],
    endpoints: ['/v1/embeddings'],
  })
  expect((key?.expires_at ?? 0) - (key?.created_at ?? 0)).toBeCloseTo(30 * 86_400, -1)
  expect(await tenants.get('fresh')).not.toBeNull()
  await apiKeys.create('acme')
  const listed = await run(['keys', 'list', '--tenant', 'fresh'])
  expect(listed.output.trim().split('\n')).toHaveLength(1)
  expect(listed.output).toMatch(/\tread; until \S+Z; models gpt-4o\*,house; endpoints \/v1\/embeddings\n$/)
})

test.each([
  [['keys', 'create', '--tenant', 'x', '--scope', 'write'], 'scopes'],
  [['keys', 'create', '--tenant', 'x', '--expires-in', 'soon'], '--expires-in'],
  [['tenants', 'create', 'x', '--limit', 'jobs_waiting=many'], 'jobs_waiting'],
  [['tenants', 'show', 'nobody'], 'tenants list'],
])('%j is refused with what is wrong, and makes nothing', async (args, told) => {
  const { code, output } = await run(args)
  expect(code).toBe(1)
  expect(output).toContain(told)
  expect(await tenants.get('x')).toBeNull()
  expect((await apiKeys.list('x', { limit: 1 }))?.apiKeys).toEqual([])
})
