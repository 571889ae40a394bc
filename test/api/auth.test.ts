import { afterAll, beforeAll, expect, test } from 'vitest'
import { eventually } from '../support/eventually.ts'
import { ask, MASTER_KEY, startApi, type TestApi } from './fixture.ts'

let api: TestApi
beforeAll(async () => {
  api = await startApi()
})
afterAll(() => api.close())

test('missing, malformed, unknown and revoked keys give one byte-identical 401 and store nothing', async () => {
  const { id, key } = await api.apiKeys.create('acme')
  await api.apiKeys.revoke(id)
  const headers = [
    {},
    ...['', 'Bearer', 'Bearer ', `Basic ${MASTER_KEY}`, MASTER_KEY, `Bearer ${MASTER_KEY} x`, `Bearer ${MASTER_KEY}\0`,
      'Bearer sk-unknown', `Bearer ${key}`, `Bearer ${MASTER_KEY.toUpperCase()}`, 'Bearer ключ', `Bearer ${'x'.repeat(10_000)}`,
    ].map((authorization) => ({ authorization })),
    { 'x-api-key': `${MASTER_KEY}x` },
    { 'api-key': `${MASTER_KEY} x` },
    // Of two, the one that every SDK but two sends counts.
    { authorization: 'Bearer wrong', 'x-api-key': MASTER_KEY },
  ] // oxfmt-ignore
  const answers = await Promise.all(
    headers.map((sent) =>
      api.app.inject({
        method: 'POST',
        url: '/v1/jobs',
        headers: sent,
        payload: { endpoint: 'x', body: ask() },
      }),
    ),
  )
  expect(answers.map(({ statusCode }) => statusCode)).toEqual(headers.map(() => 401))
  expect(new Set(answers.map(({ body }) => body)).size).toBe(1)
  expect(answers[0]?.json()).toEqual({
    error: {
      message: 'Invalid gateway API key.',
      type: 'authentication_error',
      param: null,
      code: 'invalid_api_key',
    },
  })
  expect(answers[0]?.headers['x-should-retry']).toBe('false')
  expect(await api.stored()).toBe(0)
})

test('a key is checked before a body is looked at', async () => {
  const answer = await api.call('POST', '/v1/chat/completions', { key: 'wrong', body: '{' })
  expect(answer.status).toBe(401)
})

test.each(['api-key', 'x-api-key'])(
  'a key may stand in %s, as SDKs of Azure and Anthropic send it',
  async (name) => {
    const answer = await api.app.inject({ url: '/v1/models', headers: { [name]: MASTER_KEY } })
    expect(answer.statusCode).toBe(200)
  },
)

test('the scheme may be written in any case', async () => {
  const answer = await api.call('GET', '/v1/models', { headers: { authorization: `bearer ${MASTER_KEY}` } })
  expect(answer.status).toBe(200)
})

test('a key works as soon as it is made, for its own tenant, and not after its revocation', async () => {
  const { id, key } = await api.apiKeys.create('acme')
  const made = await api.call('POST', '/v1/jobs', {
    key,
    body: { endpoint: '/v1/chat/completions', body: ask() },
  })
  expect(made.status).toBe(202)
  expect((await api.call('GET', `/v1/jobs/${made.json.id}`, { key })).status).toBe(200)
  expect((await api.call('GET', `/v1/jobs/${made.json.id}`)).status).toBe(404)
  await api.apiKeys.revoke(id)
  await eventually(
    'the key is refused',
    async () => (await api.call('GET', '/v1/jobs', { key })).status === 401,
  )
})

test('health, docs and the API description need no key', async () => {
  for (const path of ['/healthz', '/readyz', '/openapi.json', '/docs/']) {
    expect((await api.app.inject(path)).statusCode, path).toBe(200)
  }
})

test('a key does what its scopes are for, and nothing else', async () => {
  const tries = {
    read: ['GET', '/v1/jobs'],
    submit: ['POST', '/v1/jobs'],
    admin: ['GET', '/v1/admin/tenants'],
  } as const
  for (const own of ['read', 'submit', 'admin'] as const) {
    const { key } = await api.apiKeys.create('scoped', { scopes: [own] })
    for (const [needed, [method, path]] of Object.entries(tries)) {
      const body = method === 'POST' ? { endpoint: '/v1/chat/completions', body: ask() } : undefined
      const { status } = await api.call(method, path, { key, body })
      expect(status === 403, `${own} at ${method} ${path}`).toBe(needed !== own)
    }
  }
  const { id, key } = await api.apiKeys.create('scoped', { scopes: ['read'] })
  expect((await api.call('GET', '/v1/jobs', { key })).json.data).toHaveLength(1)
  await api.apiKeys.revoke(id)
})
