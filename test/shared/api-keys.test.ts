import { afterAll, beforeAll, expect, test } from 'vitest'
import { createKeyCache } from '../../api/key-cache.ts'
import { createApiKeys, hashApiKey } from '../../shared/tenants/api-keys.ts'
import { InvalidRequestError } from '../../shared/errors.ts'
import { createIds } from '../../shared/ids.ts'
import { createKeys } from '../../shared/keys.ts'
import { createTenants } from '../../shared/tenants/tenants.ts'
import { eventually, gate } from '../support/eventually.ts'
import { testRedis } from '../support/redis.ts'

/** Long before what is remembered is looked up anew by itself. */
const SOON = { timeoutMs: 20_000 }

const own = testRedis()
const keys = createKeys(own.prefix)
const apiKeys = createApiKeys({ redis: own.redis, keys })
const subscriber = own.redis.duplicate()
const tenants = createTenants({ redis: own.redis, keys, ids: createIds('an-id-secret-for-tests') })
const cache = createKeyCache({ apiKeys, tenants, subscriber, keys })

beforeAll(async () => {
  await eventually('the cache listens', async () => {
    const [, listeners] = await own.redis.pubsub('NUMSUB', keys.apiKeysChannel)
    return listeners === 1
  })
})
afterAll(async () => {
  cache.close()
  subscriber.disconnect()
  await own.cleanup()
})

test('a key is found by its hash, and Redis holds nothing of it but hash and hint', async () => {
  const made = await apiKeys.create('acme', { name: 'laptop' })
  expect(made.key).toMatch(/^sk-[A-Za-z0-9_-]{43}$/)
  const { key, ...record } = made
  expect(await apiKeys.find(hashApiKey(key))).toEqual(record)
  expect(await apiKeys.all()).toContainEqual(record)
  expect(await apiKeys.get(record.id)).toEqual(record)
  const stored = JSON.stringify(await own.redis.hgetall(keys.apiKeys))
  expect(stored).not.toContain(key)
  expect(stored).not.toContain(key.slice(3, 20))
})

test.for(['', 'a b', 'a:b', 'ü', 'x'.repeat(65)])('%j is no name for a tenant', async (tenant) => {
  await expect(apiKeys.create(tenant)).rejects.toThrow(InvalidRequestError)
})

test('a revoked key is gone, and revoking twice says so', async () => {
  const { id, key } = await apiKeys.create('acme')
  expect(await apiKeys.revoke(id)).toBe(true)
  expect(await apiKeys.find(hashApiKey(key))).toBeNull()
  expect(await apiKeys.revoke(id)).toBe(false)
})

test('a change of a key never brings back one that is revoked meanwhile', async () => {
  const made = await Promise.all(Array.from({ length: 20 }, () => apiKeys.create('race')))
  await Promise.all(
    made.flatMap(({ id }) => [
      apiKeys.update(id, { name: 'changed' }),
      apiKeys.revoke(id),
      apiKeys.update(id, {}),
    ]),
  )
  for (const { id, key } of made) {
    expect(await apiKeys.find(hashApiKey(key))).toBeNull()
    expect(await apiKeys.get(id)).toBeNull()
  }
  expect(await own.redis.zcard(keys.apiKeysOf('race'))).toBe(0)
})

test('a key is only for what it was made for, and what makes no sense is refused', async () => {
  const expiresAt = Math.floor(Date.now() / 1000) + 60
  const settings = {
    scopes: ['read' as const],
    models: ['gpt-*'],
    endpoints: ['/v1/embeddings'],
    expires_at: expiresAt,
  }
  const { id } = await apiKeys.create('acme', settings)
  expect(await apiKeys.get(id)).toMatchObject(settings)
  const refused = [
    { expires_at: expiresAt - 120 },
    { endpoints: ['/v1/nothing'] },
    { scopes: ['admin' as const] },
  ]
  for (const change of refused) {
    await expect(apiKeys.create('acme', { ...settings, ...change })).rejects.toThrow(InvalidRequestError)
    await expect(apiKeys.update(id, change)).rejects.toThrow(InvalidRequestError)
  }
  expect(await apiKeys.get(id)).toMatchObject(settings)
})

test("a tenant's keys are listed newest first and by pages, and only its own", async () => {
  const made = []
  for (const name of ['one', 'two', 'three']) made.push((await apiKeys.create('pages', { name })).id)
  const first = await apiKeys.list('pages', { limit: 2 })
  expect(first).toMatchObject({ apiKeys: [{ name: 'three' }, { name: 'two' }], hasMore: true })
  expect(await apiKeys.list('pages', { limit: 2, after: made[1] })).toMatchObject({
    apiKeys: [{ name: 'one' }],
    hasMore: false,
  })
  expect(await apiKeys.list('acme', { limit: 2, after: made[1] })).toBeNull()
  await apiKeys.revokeAll('pages')
  expect((await apiKeys.list('pages', { limit: 2 }))?.apiKeys).toEqual([])
})

test('a key that an older version made is for submits and reads, and can be revoked', async () => {
  const old = { id: 'key_old', tenant: 'acme', name: null, hint: 'sk-old…', created_at: 1 }
  await own.redis.hset(keys.apiKeys, 'hash-of-old', JSON.stringify(old))
  expect(await apiKeys.find('hash-of-old')).toMatchObject({
    ...old,
    scopes: ['submit', 'read'],
    models: null,
  })
  expect(await apiKeys.revoke('key_old')).toBe(true)
  expect(await apiKeys.find('hash-of-old')).toBeNull()
})

test('a remembered key stops working when its time is over', async () => {
  const expiresAt = Math.floor(Date.now() / 1000) + 5
  const { id, key } = await apiKeys.create('acme', { expires_at: expiresAt })
  const hash = hashApiKey(key)
  expect(await cache.find(hash)).not.toBeNull()
  await eventually('the key is refused', async () => (await cache.find(hash)) === null)
  expect(Date.now()).toBeGreaterThanOrEqual(expiresAt * 1000)
  expect(await apiKeys.update(id, { name: 'over' })).toMatchObject({ name: 'over', expires_at: expiresAt })
  await apiKeys.update(id, { expires_at: null })
  await eventually('it works again', async () => (await cache.find(hash)) !== null)
})

test('a change of a tenant holds at once for keys that are remembered', async () => {
  await tenants.create('limited')
  const { key } = await apiKeys.create('limited')
  const hash = hashApiKey(key)
  expect((await cache.find(hash))?.tenant?.limits).toEqual({})
  await tenants.update('limited', () => ({ limits: { jobs_waiting: 3 } }))
  await eventually(
    'the limit is there',
    async () => (await cache.find(hash))?.tenant?.limits.jobs_waiting === 3,
    SOON,
  )
  await tenants.update('limited', () => ({ disabled: true }))
  await eventually('the key is refused', async () => (await cache.find(hash)) === null, SOON)
  await tenants.update('limited', () => ({ disabled: false }))
  await eventually('the key is taken', async () => (await cache.find(hash)) !== null, SOON)
})

test('a key that was found costs no round trip the next time', async () => {
  const { key } = await apiKeys.create('acme')
  const hash = hashApiKey(key)
  await eventually('the key is remembered', async () => {
    await cache.find(hash)
    const before = await callsOfHget()
    await cache.find(hash)
    return (await callsOfHget()) === before
  })
})

test('a remembered key stops working as soon as it is revoked', async () => {
  const { id, key } = await apiKeys.create('acme')
  const hash = hashApiKey(key)
  expect((await cache.find(hash))?.key.tenant).toBe('acme')
  await apiKeys.revoke(id)
  await eventually('the key is forgotten', async () => (await cache.find(hash)) === null, SOON)
})

test('while the channel can not be heard nothing is remembered', async () => {
  const { key } = await apiKeys.create('acme')
  const hash = hashApiKey(key)
  const deaf = own.redis.duplicate()
  const deafCache = createKeyCache({ apiKeys, tenants, subscriber: deaf, keys })
  await eventually('the cache remembers', async () => {
    await deafCache.find(hash)
    const before = await callsOfHget()
    await deafCache.find(hash)
    return (await callsOfHget()) === before
  })
  deaf.disconnect()
  await eventually('the connection is closed', () => deaf.status === 'end')
  await deafCache.find(hash)
  await own.redis.hdel(keys.apiKeys, hash)
  expect(await deafCache.find(hash)).toBeNull()
  deafCache.close()
})

test('a key that is revoked while it is looked up is not remembered', async () => {
  const { id, key } = await apiKeys.create('acme')
  const { opened, open } = gate()
  const slow = {
    ...apiKeys,
    find: async (hash: string) => {
      const found = await apiKeys.find(hash)
      await opened
      return found
    },
  }
  const slowCache = createKeyCache({ apiKeys: slow, tenants, subscriber, keys })
  await subscriber.subscribe(keys.apiKeysChannel)
  const lookup = slowCache.find(hashApiKey(key))
  await eventually('the key is read', async () => (await apiKeys.find(hashApiKey(key))) !== null)
  let isHeard = false
  subscriber.on('message', () => (isHeard = true))
  await apiKeys.revoke(id)
  await eventually('the revocation is heard', () => isHeard)
  open()
  await lookup
  expect(await slowCache.find(hashApiKey(key))).toBeNull()
  slowCache.close()
})

test('a key that is revoked while the channel comes back is not remembered', async () => {
  const { id, key } = await apiKeys.create('acme')
  const { opened, open } = gate()
  const late = own.redis.duplicate({ lazyConnect: true })
  const slow = {
    ...apiKeys,
    find: async (hash: string) => {
      const found = await apiKeys.find(hash)
      await opened
      return found
    },
  }
  const lateCache = createKeyCache({ apiKeys: slow, tenants, subscriber: late, keys })
  late.disconnect()
  await eventually('nothing is heard', () => late.status === 'end')
  const lookup = lateCache.find(hashApiKey(key))
  await eventually('the key is read', async () => (await apiKeys.find(hashApiKey(key))) !== null)
  await apiKeys.revoke(id)
  const before = await listenersNow()
  await late.connect()
  await eventually('the channel is heard again', async () => (await listenersNow()) > before)
  // The answer to its own subscription came before this one.
  await late.ping()
  open()
  await lookup
  expect(await lateCache.find(hashApiKey(key))).toBeNull()
  lateCache.close()
  late.disconnect()
})

async function listenersNow(): Promise<number> {
  const [, count] = await own.redis.pubsub('NUMSUB', keys.apiKeysChannel)
  return Number(count)
}

async function callsOfHget(): Promise<number> {
  const stats = await own.redis.info('commandstats')
  return Number(/cmdstat_hget:calls=(\d+)/.exec(stats)?.[1] ?? 0)
}
