import { randomBytes } from 'node:crypto'
import { afterAll, expect, test } from 'vitest'
import type { CredentialSecret } from '../../shared/credentials/credential-record.ts'
import { createScript } from '../../shared/scripts.ts'
import { createSealer } from '../../shared/seal.ts'
import { createStoredCredentials } from '../../shared/credentials/stored-credentials.ts'
import { testStore } from '../support/store.ts'

const store = testStore()
const credentials = createStoredCredentials(store)
afterAll(() => store.cleanup())

const secret = (key: string): CredentialSecret => ({
  provider: 'openai',
  host: null,
  hint: null,
  fields: { api_key: key },
})
const make = (tenant: string, key: string, customer: string | null = null) =>
  credentials.create(tenant, { customer, kind: 'bundle', name: null, metadata: {}, secret: secret(key) })

test('a credential is opened for its tenant alone, and only where its id is whole', async () => {
  const { id } = await make('acme', 'sk-one', 'alice')
  expect(await credentials.open('acme', id)).toEqual({
    customer: 'alice',
    provider: 'openai',
    fields: { api_key: 'sk-one' },
  })
  for (const [tenant, asked] of [
    ['globex', id],
    ['acme', `${id}0`],
    ['acme', 'cred_*'],
  ] as const) {
    expect(await credentials.open(tenant, asked)).toBeNull()
    expect(await credentials.remove(tenant, asked)).toBe(false)
  }
  expect((await credentials.openAll('acme', [id, 'cred_unknown'])).size).toBe(1)
})

test('of two that change one at once none is lost, and no key meets what it was not given with', async () => {
  const { id } = await make('acme', 'sk-old')
  const rotate = (key: string) =>
    credentials.change('acme', id, (record, stored) => ({
      name: [record.name ?? '', key].join(' '),
      metadata: {},
      secret: { ...secret(key), fields: { ...stored().fields, api_key: key, [key]: true } },
    }))
  await Promise.all(['sk-a', 'sk-b', 'sk-c'].map(rotate))
  const after = await credentials.open('acme', id)
  expect(after?.fields).toMatchObject({ 'sk-a': true, 'sk-b': true, 'sk-c': true })
  const { name } = (await credentials.read('acme', id)) ?? {}
  expect(name?.trim().split(' ').toSorted()).toEqual(['sk-a', 'sk-b', 'sk-c'])
  expect(name?.endsWith(String(after?.fields['api_key']))).toBe(true)
})

test('a write that is said twice is made once, and one over what has changed since is not', async () => {
  const write = createScript(store.redis, 'write-credential')
  const [key, index] = [store.keys.credential('cred_script'), store.keys.credentialIndex('scripted')]
  const say = async (read: string, next: string, most = 1, value = 'v') =>
    String(await write([key, index], ['cred_script', read, next, most, 'name', value]))
  expect([await say('', 'r1'), await say('', 'r1')]).toEqual(['written', 'written'])
  expect(await Promise.all([say('r1', 'r2'), say('r1', 'r3')])).toEqual(['written', 'stale'])
  expect(await say('', 'r4')).toBe('stale')
  const other = await write([store.keys.credential('cred_other'), index], ['cred_other', '', 'r1', 1])
  expect(String(other)).toBe('full')
  const remove = createScript(store.redis, 'delete-credential')
  expect(
    await Promise.all([remove([key, index], ['cred_script']), remove([key, index], ['cred_script'])]),
  ).toEqual([1, 0])
  expect(await say('r2', 'r5')).toBe('stale')
  expect(await store.redis.exists(key, index)).toBe(0)
})

test('what was sealed with a key that is gone is listed, can be deleted, and is refused by name', async () => {
  const { id } = await make('sealed', 'sk-one')
  const others = createStoredCredentials({
    ...store,
    sealer: createSealer([{ id: 'k2', key: randomBytes(32) }]),
  })
  expect((await others.list('sealed', { limit: 10 }))?.credentials).toMatchObject([{ id, provider: null }])
  await expect(others.open('sealed', id)).rejects.toMatchObject({
    status: 400,
    code: 'credential_unreadable',
  })
  expect(await others.remove('sealed', id)).toBe(true)
})
