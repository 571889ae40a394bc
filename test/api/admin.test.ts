import { afterAll, beforeAll, expect, test } from 'vitest'
import { eventually } from '../support/eventually.ts'
import { ask, startApi, type TestApi } from './fixture.ts'

let api: TestApi
beforeAll(async () => {
  api = await startApi()
})
afterAll(() => api.close())

const create = (body: object) => api.call('POST', '/v1/admin/tenants', { body })
/** A key of the tenant that may only look after it. */
const adminOf = async (tenant: string) => (await api.apiKeys.create(tenant, { scopes: ['admin'] })).key
const codeOf = ({ status, json }: { status: number; json: { error?: { code: string } } }) =>
  `${status} ${json.error?.code}`

test('a tenant is created, read, changed by whole groups, and ended, and keeps its record', async () => {
  const made = await create({ id: 'acme', name: 'Acme', limits: { jobs_waiting: 5, usd_per_day: 2.5 } })
  expect(made.status).toBe(200)
  expect(made.json).toMatchObject({
    id: 'acme',
    object: 'tenant',
    name: 'Acme',
    disabled_at: null,
    limits: { jobs_waiting: 5, usd_per_day: 2.5 },
    customer_limits: {},
    customers: {},
    retention: {},
  })
  const { key } = (await api.call('POST', '/v1/admin/tenants/acme/keys', {})).json
  const change = { limits: { requests_per_minute: 9 }, customers: { Zoë: { jobs_waiting: 1 } } }
  const changed = await api.call('POST', '/v1/admin/tenants/acme', { body: change })
  expect(changed.json).toEqual({ ...made.json, ...change })
  expect((await api.call('GET', '/v1/admin/tenants/acme')).json).toEqual(changed.json)

  const ended = await api.call('DELETE', '/v1/admin/tenants/acme')
  expect(ended.json).toEqual({ ...changed.json, disabled_at: expect.any(Number) })
  await eventually(
    'its key is refused',
    async () => (await api.call('GET', '/v1/jobs', { key })).status === 401,
  )
  expect((await api.call('GET', '/v1/admin/tenants/acme/keys')).json.data).toEqual([])
  expect(codeOf(await create({ id: 'acme' }))).toBe('409 tenant_exists')
})

test.each([
  [{}, 'id'],
  [{ id: 'a b' }, 'id'],
  [{ id: 'x', limits: { jobs: 1 } }, 'limits.jobs'],
  [{ id: 'x', limits: { jobs_waiting: -1 } }, 'limits.jobs_waiting'],
  [{ id: 'x', customers: { '': {} } }, 'customers'],
  [{ id: 'x', retention: { results_seconds: 1.5 } }, 'retention.results_seconds'],
  [{ id: 'x', colour: 'red' }, 'colour'],
])('%j is no tenant', async (body, param) => {
  const answer = await create(body)
  expect(answer.status).toBe(400)
  expect(answer.json.error.param).toContain(param)
  expect(await api.tenants.get('x')).toBeNull()
})

test("a disabled tenant's keys are refused as unknown ones are, and its accepted jobs go on", async () => {
  await create({ id: 'paused' })
  const { key } = await api.apiKeys.create('paused')
  const body = { endpoint: '/v1/chat/completions', body: ask() }
  const job = await api.call('POST', '/v1/jobs', { key, body })
  await api.call('POST', '/v1/admin/tenants/paused', { body: { disabled: true } })
  const unknown = await api.call('GET', '/v1/jobs', { key: 'sk-unknown' })
  await eventually('the key is refused', async () => {
    const answer = await api.call('GET', '/v1/jobs', { key })
    return answer.status === 401 && answer.text === unknown.text
  })
  expect((await api.work({ body: '{"ok":true}' })).id).toBe(job.json.id)
  await api.call('POST', '/v1/admin/tenants/paused', { body: { disabled: false } })
  await eventually('the key is taken', async () => {
    const { json } = await api.call('GET', `/v1/jobs/${job.json.id}`, { key })
    return json.status === 'completed'
  })
})

test('a key is shown once, and is then what its record says until it is revoked', async () => {
  await create({ id: 'keyed' })
  const settings = {
    name: 'ci',
    scopes: ['read'],
    models: ['gpt-4o*'],
    endpoints: ['/v1/embeddings'],
    expires_at: Math.floor(Date.now() / 1000) + 3_600,
  }
  const made = await api.call('POST', '/v1/admin/tenants/keyed/keys', { body: settings })
  expect(made.headers['cache-control']).toBe('no-store')
  const { key, ...record } = made.json
  expect(record).toMatchObject({ ...settings, object: 'api_key', tenant: 'keyed' })
  expect(key).toMatch(/^sk-/)
  const read = await api.call('GET', `/v1/admin/keys/${record.id}`)
  expect(read.json).toEqual(record)
  const listed = await api.call('GET', '/v1/admin/tenants/keyed/keys')
  expect(listed.json).toMatchObject({ object: 'list', data: [record], first_id: record.id, has_more: false })
  expect(read.text + listed.text).not.toContain(key)

  const changed = await api.call('POST', `/v1/admin/keys/${record.id}`, {
    body: { scopes: ['read', 'submit'] },
  })
  expect(changed.json).toEqual({ ...record, scopes: ['read', 'submit'] })
  const gone = await api.call('DELETE', `/v1/admin/keys/${record.id}`)
  expect(gone.json).toEqual({ id: record.id, object: 'api_key', deleted: true })
  for (const method of ['GET', 'DELETE'] as const) {
    expect(codeOf(await api.call(method, `/v1/admin/keys/${record.id}`))).toBe('404 not_found')
  }
  expect(codeOf(await api.call('POST', `/v1/admin/keys/${record.id}`, { body: {} }))).toBe('404 not_found')
})

test.each([
  [{ scopes: [] }, 'scopes'],
  [{ scopes: ['read', 'read'] }, 'scopes'],
  [{ scopes: ['write'] }, 'scopes[0]'],
  [{ models: ['gpt-*-mini'] }, 'models[0]'],
  [{ endpoints: ['/v1/files'] }, 'endpoints[0]'],
  [{ expires_at: 1 }, 'expires_at'],
  [{ scopes: ['admin'], models: ['gpt-4o'] }, 'models'],
  [{ tenant: 'other' }, 'tenant'],
])('%j is no key', async (body, param) => {
  await api.tenants.ensure('refusing')
  const answer = await api.call('POST', '/v1/admin/tenants/refusing/keys', { body })
  expect(answer.status).toBe(400)
  expect(answer.json.error.param).toBe(param)
  expect((await api.call('GET', '/v1/admin/tenants/refusing/keys')).json.data).toEqual([])
})

test('lists go on behind a page, and an unknown place is refused', async () => {
  for (const id of ['list-1', 'list-2', 'list-3']) await create({ id })
  const first = (await api.call('GET', '/v1/admin/tenants?limit=2')).json
  expect(first).toMatchObject({
    has_more: true,
    data: [{ id: 'list-3' }, { id: 'list-2' }],
    last_id: 'list-2',
  })
  const second = (await api.call('GET', '/v1/admin/tenants?limit=1&after=list-2')).json
  expect(second.data[0].id).toBe('list-1')
  expect((await api.call('GET', '/v1/admin/tenants?after=nobody')).json.error.param).toBe('after')
  expect((await api.call('GET', '/v1/admin/tenants/list-1/keys?after=key_x')).json.error.param).toBe('after')
  expect((await api.call('GET', '/v1/admin/tenants?limit=101')).status).toBe(400)
  expect(codeOf(await api.call('GET', '/v1/admin/tenants/nobody/keys'))).toBe('404 not_found')
})

test("an admin key looks after its own tenant's customers and keys, and grants itself nothing", async () => {
  await create({ id: 'own', limits: { jobs_waiting: 1 } })
  const key = await adminOf('own')
  const customers = {
    customers: { bob: { jobs_waiting: 1 } },
    customer_limits: { jobs_waiting: 2 },
    name: 'Own',
  }
  expect((await api.call('POST', '/v1/admin/tenants/own', { key, body: customers })).json).toMatchObject({
    ...customers,
    limits: { jobs_waiting: 1 },
  })
  for (const body of [{ limits: {} }, { retention: {} }, { disabled: false }, { name: 'x', limits: {} }]) {
    const answer = await api.call('POST', '/v1/admin/tenants/own', { key, body })
    expect(codeOf(answer), JSON.stringify(body)).toBe('403 insufficient_scope')
  }
  expect((await api.call('GET', '/v1/admin/tenants', { key })).json.data).toMatchObject([
    { id: 'own', name: 'Own' },
  ])
  const made = await api.call('POST', '/v1/admin/tenants/own/keys', { key, body: {} })
  expect((await api.call('GET', '/v1/jobs', { key: made.json.key })).status).toBe(200)
  expect((await api.call('DELETE', `/v1/admin/keys/${made.json.id}`, { key })).status).toBe(200)
})

test("to an admin key another tenant, and another tenant's key, are as if there were none", async () => {
  await create({ id: 'theirs' })
  const { id: theirKey } = await api.apiKeys.create('theirs')
  await api.tenants.ensure('nosy')
  const key = await adminOf('nosy')
  const calls = [
    ['GET', (id: string) => `/v1/admin/tenants/${id}`, 'theirs', 'nobody', undefined],
    ['POST', (id: string) => `/v1/admin/tenants/${id}`, 'theirs', 'nobody', { name: 'x' }],
    ['GET', (id: string) => `/v1/admin/tenants/${id}/keys`, 'theirs', 'nobody', undefined],
    ['POST', (id: string) => `/v1/admin/tenants/${id}/keys`, 'theirs', 'nobody', {}],
    ['GET', (id: string) => `/v1/admin/tenants?after=${id}`, 'theirs', 'nobody', undefined],
    ['GET', (id: string) => `/v1/admin/keys/${id}`, theirKey, 'key_none', undefined],
    ['POST', (id: string) => `/v1/admin/keys/${id}`, theirKey, 'key_none', { name: 'x' }],
    ['DELETE', (id: string) => `/v1/admin/keys/${id}`, theirKey, 'key_none', undefined],
  ] as const
  for (const [method, path, theirs, unknown, body] of calls) {
    const [one, other] = [
      await api.call(method, path(theirs), { key, body }),
      await api.call(method, path(unknown), { key, body }),
    ]
    expect(one.text, `${method} ${path(theirs)}`).toBe(other.text)
    expect(one.status, `${method} ${path(theirs)}`).toBe(path('').includes('after') ? 400 : 404)
  }
  expect(await api.tenants.get('theirs')).toMatchObject({ name: null })
  expect(await api.apiKeys.get(theirKey)).toMatchObject({ name: null })
})
