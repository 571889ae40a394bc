import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { CREDENTIALS_MAX } from '../../shared/credentials/stored-credentials.ts'
import { ask, startApi, type TestApi } from './fixture.ts'

const KEY = 'sk-stored-secret-9f3Q'
const CONFIG = {
  model_list: [{ model_name: 'mine', litellm_params: { model: 'openai/gpt-test', api_key: KEY } }],
}
const HOUSE = `
model_list:
  - model_name: house
    litellm_params:
      model: groq/llama
      api_key: sk-operator
      configurable_clientside_auth_params: ["api_key"]
  - model_name: closed
    litellm_params: { model: openai/gpt-4o, api_key: sk-operator }
`

let api: TestApi
const keys: Record<string, string> = {}
beforeAll(async () => {
  api = await startApi({ configYaml: HOUSE })
  for (const tenant of ['acme', 'globex']) keys[tenant] = (await api.apiKeys.create(tenant)).key
})
afterAll(() => api.close())

const as = (tenant?: string) => (tenant === undefined ? {} : { key: keys[tenant] ?? '' })
const store = (body: object, tenant?: string, headers = {}) =>
  api.call('POST', '/v1/credentials', { body, headers, ...as(tenant) })
const stored = async (body: object, tenant?: string) => String((await store(body, tenant)).json.id)
const change = (id: string, body: object) => api.call('POST', `/v1/credentials/${id}`, { body })
const plan = (body: object, headers = {}, tenant?: string) =>
  api.call('POST', '/v1/plan', { body: { model: 'gpt-4o', messages: [{}], ...body }, headers, ...as(tenant) })
const refusal = ({ status, json }: { status: number; json?: { error: { code: string; param: string } } }) => [
  status,
  json?.error.code,
  json?.error.param,
]

describe('a stored credential', () => {
  test('is shown without anything of its secret', async () => {
    const given = {
      provider: 'openai',
      api_key: KEY,
      api_base: 'https://llm.example.com/v1',
      name: 'alice’s key',
      customer: 'alice',
      metadata: { plan: 'pro' },
    }
    const made = await store(given)
    expect(made.status).toBe(200)
    const { id, created_at: createdAt } = made.json
    const shown = {
      id: expect.stringMatching(/^cred_[0-9a-f]{40}$/),
      object: 'credential',
      name: 'alice’s key',
      customer: 'alice',
      kind: 'bundle',
      provider: 'openai',
      host: 'llm.example.com',
      key_hint: '…9f3Q',
      metadata: { plan: 'pro' },
      created_at: createdAt,
      updated_at: createdAt,
    }
    expect(made.json).toEqual(shown)
    const read = await api.call('GET', `/v1/credentials/${id}`)
    expect(read.json).toEqual(shown)
    const list = await api.call('GET', '/credentials?customer=alice')
    expect(list.json).toEqual({ object: 'list', data: [shown], first_id: id, last_id: id, has_more: false })
    for (const { text } of [made, read, list]) expect(text).not.toContain(KEY)
  })

  test('that is a config has no hint, and a short key has none', async () => {
    const config = await store({ user_config: CONFIG })
    expect(config.json).toMatchObject({ kind: 'user_config', provider: null, host: null, key_hint: null })
    expect((await store({ api_key: 'short-key-1' })).json).toMatchObject({ kind: 'bundle', key_hint: null })
  })

  test('is of the customer that the header names', async () => {
    const made = await store({ api_key: KEY, customer: 'alice' }, 'acme', { 'x-litellm-customer-id': 'bob' })
    expect(made.json.customer).toBe('bob')
  })

  test('is listed page by page, newest first, also when what a page ended with is deleted', async () => {
    const made: string[] = []
    for (let count = 0; count < 5; count += 1) made.unshift(await stored({ api_key: KEY }, 'globex'))
    const page = (query: string) => api.call('GET', `/v1/credentials?limit=2${query}`, as('globex'))
    const idsOf = ({ json }: Awaited<ReturnType<typeof page>>) =>
      json.data.map(({ id }: { id: string }) => id)
    const first = await page('')
    expect([idsOf(first), first.json.has_more]).toEqual([made.slice(0, 2), true])
    await api.call('DELETE', `/v1/credentials/${made[1]}`, as('globex'))
    const second = await page(`&after=${made[1]}`)
    expect([idsOf(second), second.json.has_more]).toEqual([made.slice(2, 4), true])
    expect(refusal(await page('&after=cred_no'))).toEqual([400, 'invalid_request', 'after'])
  })

  test('of another tenant is as unknown as one that never was', async () => {
    const id = await stored({ api_key: KEY }, 'acme')
    for (const [method, body] of [['GET'], ['POST', { name: 'mine now' }], ['DELETE']] as const) {
      const call = (of: string) => api.call(method, `/v1/credentials/${of}`, { body, ...as('globex') })
      const [foreign, unknown] = [await call(id), await call('cred_unknown')]
      expect([foreign.status, foreign.text]).toEqual([404, unknown.text])
    }
    expect((await api.call('GET', `/v1/credentials/${id}`, as('acme'))).json.name).toBeNull()
  })

  test('is one of at most ten thousand of a tenant', async () => {
    const tenant = 'crowded'
    keys[tenant] = (await api.apiKeys.create(tenant)).key
    const { redis, keys: names } = api.store
    const others = Array.from({ length: CREDENTIALS_MAX - 1 }, (_, number) => ['0', `cred_${number}`]).flat()
    await redis.zadd(names.credentialIndex(tenant), ...others)
    const last = await store({ api_key: KEY }, tenant)
    expect(last.status).toBe(200)
    expect(refusal(await store({ api_key: KEY }, tenant))).toEqual([409, 'too_many_credentials', null])
    await api.call('DELETE', `/v1/credentials/${last.json.id}`, as(tenant))
    expect((await store({ api_key: KEY }, tenant)).status).toBe(200)
  })
})

describe('what is stored is checked as in a request', () => {
  test.each([
    [{}, 'api_key'],
    [{ provider: 'opnai', api_key: KEY }, 'provider'],
    [{ provider: 'anthropic', api_key: '' }, 'api_key'],
    [{ api_key: KEY, api_base: 'http://169.254.169.254/latest' }, 'api_base'],
    [
      { api_key: KEY, api_base: 'https://llm.example.com', base_url: 'https://other.example.com' },
      'base_url',
    ],
    [{ api_base: 'https://llm.example.com/v1' }, 'api_key'],
    [{ api_key: 'os.environ/OPENAI_API_KEY' }, 'api_key'],
    [{ provider: 'azure', api_key: KEY }, 'api_base'],
    [{ provider: 'bedrock', aws_access_key_id: 'a', aws_region_name: 'us-east-1' }, 'aws_secret_access_key'],
    [{ provider: 'openai', api_key: KEY, account_id: 'one' }, 'account_id'],
    [{ provider: 'openai', aws_secret_access_key: KEY, aws_access_key_id: 'a' }, 'aws_access_key_id'],
    [{ aws_role_name: 'arn:aws:iam::1:role/r', api_key: KEY }, 'aws_role_name'],
    [{ user_config: CONFIG, api_key: KEY }, 'api_key'],
    [{ user_config: CONFIG, provider: 'openai' }, 'provider'],
    [{ user_config: { model_list: [] } }, 'user_config.model_list'],
    [{ user_config: { ...CONFIG, redis_url: 'redis://x' } }, 'user_config.redis_url'],
    [{ api_key: KEY, apikey: KEY }, 'apikey'],
    [{ api_key: KEY, litellm_credential_name: 'x' }, 'litellm_credential_name'],
  ])('%j is refused for its %s', async (body, param) => {
    const answer = await store(body)
    expect([answer.status, answer.json.error.param]).toEqual([400, param])
    expect(answer.text).not.toContain(KEY)
  })

  test('and refused where clients may bring none', async () => {
    const own = await startApi({ configYaml: 'general_settings: { allow_client_side_credentials: false }' })
    for (const [field, value] of [
      ['api_key', KEY],
      ['user_config', CONFIG],
    ] as const) {
      const answer = await own.call('POST', '/v1/credentials', { body: { [field]: value } })
      expect(refusal(answer)).toEqual([400, 'client_credentials_disabled', field])
    }
    await own.close()
  })
})

describe('a change', () => {
  const base = 'https://llm.example.com/v1'

  test('of name and metadata leaves the rest as it is', async () => {
    const id = await stored({ api_key: KEY, api_base: base, name: 'old', metadata: { a: '1' } })
    const renamed = await change(id, { name: 'new' })
    expect(renamed.json).toMatchObject({
      name: 'new',
      metadata: { a: '1' },
      host: 'llm.example.com',
      key_hint: '…9f3Q',
    })
    expect((await change(id, { name: null, metadata: null })).json).toMatchObject({
      name: null,
      metadata: {},
    })
    expect((await plan({ credential: id })).status).toBe(200)
  })

  test('to a new key alone keeps the base that it is for', async () => {
    const id = await stored({ provider: 'openai', api_key: KEY, api_base: base })
    const changed = await change(id, { api_key: 'sk-rotated-secret-7Xw2' })
    expect(changed.json).toMatchObject({ provider: 'openai', host: 'llm.example.com', key_hint: '…7Xw2' })
  })

  test.each([
    [{ api_base: 'https://evil.example.com/v1' }, 'api_base'],
    [{ base_url: 'https://evil.example.com/v1' }, 'base_url'],
    [{ provider: 'groq' }, 'provider'],
    [{ api_version: '2024-10-21' }, 'api_version'],
    [{ account_id: 'evil' }, 'account_id'],
  ])('to %j never takes the stored key along', async (body, param) => {
    const id = await stored({ provider: 'openai', api_key: KEY, api_base: base })
    expect(refusal(await change(id, body))).toEqual([400, 'credentials_required', param])
    expect((await api.call('GET', `/v1/credentials/${id}`)).json).toMatchObject({ host: 'llm.example.com' })
  })

  test('that brings a key is the whole of what is secret', async () => {
    const id = await stored({ provider: 'openai', api_key: KEY, api_base: base, organization: 'org-old' })
    const changed = await change(id, { api_key: 'sk-rotated-secret-7Xw2', api_version: '2024-10-21' })
    expect(changed.json).toMatchObject({ provider: null, host: null, key_hint: '…7Xw2' })
  })

  test('never makes a config of a bundle, nor a bundle of a config', async () => {
    const [bundle, config] = [await stored({ api_key: KEY }), await stored({ user_config: CONFIG })]
    expect(refusal(await change(bundle, { user_config: CONFIG }))).toEqual([
      400,
      'invalid_parameter',
      'user_config',
    ])
    expect(refusal(await change(config, { api_key: KEY }))).toEqual([400, 'invalid_parameter', 'api_key'])
    expect((await change(config, { user_config: CONFIG })).status).toBe(200)
  })

  test('that would not be stored changes nothing', async () => {
    const id = await stored({ api_key: KEY, api_base: base })
    const answer = await change(id, { api_key: KEY, api_base: 'http://127.0.0.1:6379', name: 'other' })
    expect([answer.status, answer.json.error.param]).toEqual([400, 'api_base'])
    expect((await api.call('GET', `/v1/credentials/${id}`)).json).toMatchObject({
      name: null,
      host: 'llm.example.com',
    })
  })
})

describe('a request that names one', () => {
  test.each([
    { api_key: 'sk-x' },
    { api_base: 'https://llm.example.com/v1' },
    { base_url: 'https://llm.example.com/v1' },
    { api_version: '2024-10-21' },
    { organization: 'org' },
    { user_config: CONFIG },
    { custom_llm_provider: 'groq' },
    { aws_region_name: 'us-east-1' },
    { account_id: 'evil' },
    { azure_ad_token: 'x' },
  ])('can bring nothing beside it that says who is called: %j', async (other) => {
    const id = await stored({ provider: 'openai', api_key: KEY })
    const [field] = Object.keys(other)
    expect(refusal(await plan({ credential: id, ...other }))).toEqual([400, 'ambiguous_credentials', field])
  })

  test('is told its plan, by the provider that the key is for', async () => {
    const id = await stored({ provider: 'groq', api_key: KEY })
    const { json, text } = await plan({ credential: id, model: 'llama-3' })
    expect(json).toMatchObject({ source: 'client_credentials' })
    expect(text).toContain('groq')
    expect(text).not.toContain(KEY)
    expect(refusal(await plan({ credential: 7 }))).toEqual([400, 'invalid_parameter', 'credential'])
    expect((await plan({ credential: null, model: 'closed' })).json).toMatchObject({ source: 'operator' })
  })

  test('uses it on a model of the operator only where that is called at the same provider', async () => {
    const [groq, openai] = [
      await stored({ provider: 'groq', api_key: KEY }),
      await stored({ provider: 'openai', api_key: KEY }),
    ]
    expect((await plan({ credential: groq, model: 'house' })).status).toBe(200)
    const elsewhere = await plan({ credential: openai, model: 'house' })
    expect(refusal(elsewhere)).toEqual([400, 'credential_not_for_model', 'credential'])
    const closed = await plan({ credential: openai, model: 'closed' })
    expect(refusal(closed)).toEqual([400, 'invalid_request', 'credential'])
    expect(closed.json.error.message).toContain('`api_key`')
  })

  test('may name others in its fallbacks, each for its own call', async () => {
    const [one, two] = [
      await stored({ provider: 'openai', api_key: KEY }),
      await stored({ provider: 'groq', api_key: KEY }),
    ]
    const asked = (credential: string, more = {}) =>
      plan({ credential: one, fallbacks: [{ model: 'llama-3', credential, ...more }] })
    const whole = await asked(two)
    expect([whole.status, whole.text.includes('groq')]).toEqual([200, true])
    expect(refusal(await asked('cred_x'))).toEqual([404, 'credential_not_found', 'fallbacks[0].credential'])
    expect(refusal(await asked(two, { api_base: 'https://llm.example.com' }))).toEqual([
      400,
      'ambiguous_credentials',
      'fallbacks[0].api_base',
    ])
    const config = await stored({ user_config: CONFIG })
    expect(refusal(await asked(config))).toEqual([400, 'invalid_request', 'fallbacks[0].credential'])
  })

  test.each([
    ['POST', '/v1/jobs', (body: object) => ({ endpoint: '/v1/chat/completions', body }), 'body.credential'],
    ['POST', '/v1/chat/completions', (body: object) => body, 'credential'],
    ['POST', '/v1/responses', (body: object) => ({ ...body, input: 'hi', background: true }), 'credential'],
    [
      'POST',
      '/v1/batches',
      ({ credential, ...body }: { credential?: string }) => ({
        endpoint: '/v1/chat/completions',
        completion_window: '24h',
        credential,
        requests: [{ custom_id: 'a', body }],
      }),
      'credential',
    ],
  ] as const)(
    'that is not its own is answered as if there were none: %s %s',
    async (_, path, form, param) => {
      const id = await stored({ api_key: KEY, customer: 'alice' }, 'acme')
      const call = (credential: string, tenant: string, customer: string | null) =>
        api.call('POST', path, {
          body: form({ ...ask({ user_config: undefined }), credential }),
          headers: customer === null ? {} : { 'x-litellm-customer-id': customer },
          ...as(tenant),
        })
      const unknown = await call('cred_unknown', 'acme', 'alice')
      expect(refusal(unknown)).toEqual([404, 'credential_not_found', param])
      const before = await api.stored()
      for (const [tenant, customer] of [
        ['acme', null],
        ['acme', 'bob'],
        ['globex', 'alice'],
        ['globex', null],
      ] as const) {
        expect((await call(id, tenant, customer)).text).toBe(unknown.text)
      }
      expect(await api.stored()).toBe(before)
    },
  )

  test('and an idempotency key is the same request as long as it says the same, whatever is stored', async () => {
    const id = await stored({ api_key: KEY })
    const submit = (credential: string) =>
      api.call('POST', '/v1/jobs', {
        body: { endpoint: '/v1/chat/completions', body: { ...ask({ user_config: undefined }), credential } },
        headers: { 'idempotency-key': `once-${id}` },
      })
    const first = await submit(id)
    await change(id, { api_key: 'sk-rotated-secret-7Xw2' })
    expect((await submit(id)).json.id).toBe(first.json.id)
    expect((await submit(await stored({ api_key: KEY }))).status).toBe(422)
  })
})
