import { randomBytes } from 'node:crypto'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { createSealer } from '../../shared/seal.ts'
import {
  ENDPOINTS_MAX,
  createWebhookEndpoints,
  type WebhookEndpoints,
} from '../../shared/webhooks/webhook-endpoints.ts'
import { dumpRedis } from '../support/dump.ts'
import { eventually } from '../support/eventually.ts'
import { testStore, type TestStore } from '../support/store.ts'

const URL = 'https://hook.example/secret-path?token=9c1e-of-the-url'

let store: TestStore
let endpoints: WebhookEndpoints
beforeEach(() => {
  store = testStore()
  endpoints = createWebhookEndpoints(store)
})
afterEach(() => store.cleanup())

const settings = {
  name: 'x',
  url: URL,
  eventTypes: ['job.completed' as const],
  customer: null,
  metadata: {},
  headers: { authorization: 'Bearer 9c1e-of-the-header' },
  isEnabled: true,
}

test('nothing of an endpoint that is secret lies in Redis as it is', async () => {
  const { id, secrets } = await endpoints.create('acme', settings)
  await endpoints.rotate('acme', id, 60_000)
  const text = (await dumpRedis(store.redis)).toString('latin1')
  expect(text).toContain(id)
  for (const secret of [
    '9c1e-of-the-url',
    '9c1e-of-the-header',
    secrets[0]?.secret.slice('whsec_'.length, -4) ?? '',
  ]) {
    expect(secret).not.toBe('')
    expect(text).not.toContain(secret)
  }
})

test('a secret is whsec_ and the padded standard base64 of 32 bytes, each of its own', async () => {
  const made = await Promise.all([1, 2, 3].map(() => endpoints.create('acme', settings)))
  const all = made.flatMap(({ secrets }) => secrets.map(({ secret }) => secret))
  for (const secret of all) expect(secret).toMatch(/^whsec_[A-Za-z0-9+/]{43}=$/)
  expect(new Set(all).size).toBe(3)
})

test('a tenant has so many endpoints and no more, also when they are made at once; one that is deleted makes room', async () => {
  const results = await Promise.allSettled(
    Array.from({ length: ENDPOINTS_MAX + 5 }, () => endpoints.create('acme', settings)),
  )
  const made = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []))
  expect(made).toHaveLength(ENDPOINTS_MAX)
  await expect(endpoints.create('acme', settings)).rejects.toMatchObject({
    status: 409,
    code: 'too_many_webhook_endpoints',
  })
  await endpoints.create('other', settings)
  expect(await endpoints.remove('acme', made[0]?.id ?? '')).toBe(true)
  await endpoints.create('acme', settings)
})

test('changes of one endpoint at once are all kept', async () => {
  const { id } = await endpoints.create('acme', settings)
  // Redis has the script from here on, so that it runs between the reads and the writes of the others.
  await endpoints.disable((await endpoints.create('acme', settings)).id, 'gone')
  await Promise.all([
    endpoints.update('acme', id, { name: 'new' }),
    endpoints.update('acme', id, { metadata: { a: 'b' } }),
    endpoints.rotate('acme', id, 60_000),
    endpoints.rotate('acme', id, 60_000),
    endpoints.disable(id, 'failing'),
  ])
  const record = await endpoints.read('acme', id)
  expect(record).toMatchObject({ name: 'new', metadata: { a: 'b' }, disabled: { reason: 'failing' } })
  expect(record?.secrets).toHaveLength(3)
})

test('what changes nothing is not a change', async () => {
  const { id, updatedMs } = await endpoints.create('acme', settings)
  const next = await eventually('the clock goes on', () => (Date.now() > updatedMs ? true : undefined))
  expect(next).toBe(true)
  await endpoints.update('acme', id, { name: 'x', url: URL, isEnabled: true })
  await endpoints.update('acme', id, {})
  expect((await endpoints.read('acme', id))?.updatedMs).toBe(updatedMs)
  await endpoints.update('acme', id, { name: 'y' })
  expect((await endpoints.read('acme', id))?.updatedMs).toBeGreaterThan(updatedMs)
})

test('a rotated secret signs along for as long as it was said, then no more; without that it is void at once', async () => {
  const { id, secrets } = await endpoints.create('acme', settings)
  const old = secrets[0]?.secret
  const live = async () => {
    const hook = await endpoints.hook('acme', id)
    return hook.kind === 'open' ? hook.secrets : []
  }
  const rotated = await endpoints.rotate('acme', id, 300)
  const current = rotated?.secrets[0]?.secret
  expect(await live()).toEqual([current, old])
  await eventually('the old one is void', async () => (await live()).length === 1)
  expect(await live()).toEqual([current])
  await endpoints.rotate('acme', id, 60_000)
  expect(await live()).toHaveLength(2)
  const last = await endpoints.rotate('acme', id, 0)
  expect(await live()).toEqual([last?.secrets[0]?.secret])
  // Nor is one that is void kept any longer.
  expect((await endpoints.read('acme', id))?.secrets).toEqual(last?.secrets)
  expect(last?.secrets).toHaveLength(1)
})

test('no more than ten secrets sign at once', async () => {
  const { id } = await endpoints.create('acme', settings)
  for (let count = 0; count < 12; count += 1) await endpoints.rotate('acme', id, 60_000)
  const hook = await endpoints.hook('acme', id)
  expect(hook.kind === 'open' && hook.secrets).toHaveLength(10)
})

test('what is sent is what the endpoint says at that moment: changed, disabled, enabled again, deleted', async () => {
  const { id } = await endpoints.create('acme', settings)
  expect(await endpoints.hook('acme', id)).toMatchObject({ url: URL, headers: settings.headers })
  await endpoints.update('acme', id, { url: 'https://other.example/', headers: {} })
  expect(await endpoints.hook('acme', id)).toMatchObject({ url: 'https://other.example/', headers: {} })
  await endpoints.update('acme', id, { isEnabled: false })
  expect(await endpoints.hook('acme', id)).toEqual({ kind: 'disabled' })
  // What was known of its failures.
  await store.redis.hset(store.keys.target(id), { failures: 7, failing_since: 1 })
  await endpoints.update('acme', id, { name: 'y' })
  expect(await store.redis.exists(store.keys.target(id))).toBe(1)
  await endpoints.update('acme', id, { isEnabled: true })
  expect(await store.redis.exists(store.keys.target(id))).toBe(0)
  expect(await endpoints.hook('acme', id)).toMatchObject({ kind: 'open' })
  await endpoints.remove('acme', id)
  expect(await endpoints.hook('acme', id)).toEqual({ kind: 'gone' })
  expect(await endpoints.disable(id, 'gone')).toBe(false)
  expect(await store.redis.exists(store.keys.endpoint(id))).toBe(0)
})

test("another tenant's endpoint is one that is not there, whatever is asked of it", async () => {
  const { id } = await endpoints.create('acme', settings)
  const before = await endpoints.read('acme', id)
  expect(await endpoints.read('other', id)).toBeNull()
  expect(await endpoints.update('other', id, { name: 'mine' })).toBeNull()
  expect(await endpoints.rotate('other', id, 0)).toBeNull()
  expect(await endpoints.remove('other', id)).toBe(false)
  expect(await endpoints.hook('other', id)).toEqual({ kind: 'gone' })
  expect(await endpoints.standings('other', [id])).toEqual([{ kind: 'unknown' }])
  expect(await endpoints.list('other', { limit: 10 })).toEqual({ endpoints: [], hasMore: false })
  expect(await endpoints.list('other', { after: id, limit: 10 })).toBeNull()
  expect(await endpoints.read('acme', id)).toEqual(before)
})

test('a list goes on from page to page, newest first', async () => {
  const ids: string[] = []
  for (let count = 0; count < 5; count += 1) ids.unshift((await endpoints.create('acme', settings)).id)
  const first = await endpoints.list('acme', { limit: 2 })
  const second = await endpoints.list('acme', { limit: 3, after: ids[1] })
  expect(first).toMatchObject({ endpoints: [{ id: ids[0] }, { id: ids[1] }], hasMore: true })
  expect(second?.endpoints.map(({ id }) => id)).toEqual(ids.slice(2))
  expect(second?.hasMore).toBe(false)
})

test('an endpoint that is sent to is sealed with the newest key, so that it outlives the one it was made with', async () => {
  const [old, next] = ['old', 'next'].map((id) => ({ id, key: randomBytes(32) }))
  if (!old || !next) throw new Error('two keys')
  const under = (...keys: (typeof old)[]) => createWebhookEndpoints({ ...store, sealer: createSealer(keys) })
  const { id } = await under(old).create('acme', settings)
  const before = await under(next, old).hook('acme', id)
  expect(before).toMatchObject({ kind: 'open', url: URL, headers: settings.headers })
  expect(await under(next).hook('acme', id)).toEqual(before)
  await expect(under(old).hook('acme', id)).rejects.toMatchObject({ code: 'seal_unknown_key' })
})

test('one that was sealed with a key that is gone hides no other of a list, and can be deleted', async () => {
  const [lost, next] = ['lost', 'next'].map((id) => ({ id, key: randomBytes(32) }))
  if (!lost || !next) throw new Error('two keys')
  const under = (key: typeof lost) => createWebhookEndpoints({ ...store, sealer: createSealer([key]) })
  const [old, other] = [
    await under(lost).create('acme', settings),
    await under(next).create('acme', settings),
  ]
  const page = await under(next).list('acme', { limit: 5 })
  expect(page?.endpoints).toMatchObject([
    { id: other.id, url: URL },
    { id: old.id, name: 'x', url: '', secrets: [], headers: {} },
  ])
  expect(await under(next).remove('acme', old.id)).toBe(true)
})
