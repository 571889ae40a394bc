import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { MASTER_TENANT } from '../../shared/tenants/api-keys.ts'
import type { Failure } from '../../shared/routing/deployment-state.ts'
import { createEgressPolicy } from '../../shared/egress.ts'
import { readOperatorConfig } from '../../shared/settings/operator-config.ts'
import { resolvePlan } from '../../shared/plans/plan.ts'
import { startApi, type TestApi } from './fixture.ts'

const PATH = '/v1/plan'
const COMPLETIONS = '/v1/chat/completions'
const egress = createEgressPolicy({ allowedCidrs: [] })

const HOUSE = {
  model_list: [
    {
      model_name: 'house',
      litellm_params: {
        model: 'openai/gpt-4o',
        api_key: 'sk-operator-canary',
        api_base: 'https://inside.operator.example/canary-path',
        rpm: 77,
        weight: 5,
      },
    },
    { model_name: 'spare', litellm_params: { model: 'groq/llama', api_key: 'gsk-operator-canary' } },
    {
      model_name: 'open',
      litellm_params: {
        model: 'azure/gpt-4o',
        api_base: 'https://inside.operator.example',
        api_version: '2024-10-21',
        rpm: 78,
        configurable_clientside_auth_params: ['api_key'],
      },
    },
  ],
  router_settings: { fallbacks: [{ house: ['spare'] }] },
}

let api: TestApi
beforeAll(async () => {
  api = await startApi({ configYaml: JSON.stringify(HOUSE) })
})
afterAll(() => api.close())

const messages = [{ role: 'user', content: 'x'.repeat(400) }]

function entry(group: string, params: object = {}) {
  return { model_name: group, litellm_params: { model: `openai/${group}`, api_key: 'sk-1', ...params } }
}

/** A body with a `user_config` of these entries, the first one asked for. */
function ask(list: ReturnType<typeof entry>[], router: object = {}, request: object = {}) {
  const model = list[0]?.model_name
  return { model, messages, user_config: { model_list: list, ...router }, ...request }
}

async function planOf(body: object, call: { key?: string; headers?: Record<string, string> } = {}) {
  const answer = await api.call('POST', PATH, { body, ...call })
  expect(answer.status, answer.text).toBe(200)
  return answer.json
}

async function hostsOf(body: object): Promise<(string | null)[]> {
  const plan = await planOf(body)
  return plan.groups[0].deployments.map(({ host }: { host: string | null }) => host)
}

/** A failure that some job met on the first deployment of this body's plan: a 429 pauses its key, a 401 cools it. */
async function meet(status: 401 | 429, body: Record<string, unknown>, tenant: string) {
  const operator = readOperatorConfig(HOUSE, {})
  const request = { body, tenant, customer: null }
  const { plan } = resolvePlan(request, { operator, ids: api.store.ids, egress })
  const [deployment] = plan.deployments
  if (!deployment) throw new Error('The plan has no deployment.')
  const failure: Failure = {
    class: status === 429 ? 'rate_limit' : 'authentication',
    strategy: null,
    status,
    isClientsMistake: false,
    retryAfterMs: 60_000,
    isPossiblyBilled: false,
    groupSize: 1,
  }
  const tokens = { input: 0, output: 0 }
  await api.store.state.fail(plan, { deployment, bookedAt: 0, isProbe: false, tokens, holder: null }, failure)
}

describe('what is shown of a plan of the client', () => {
  test('is how each of its deployments is called, with every default and override resolved', async () => {
    const list = [
      entry('main', {
        api_base: 'https://one.example:8443/v1',
        rpm: 60,
        weight: 3,
        timeout: 20,
        num_retries: 4,
      }),
      entry('main', { model: 'mistral/large', tpm: 9000, cooldown_time: 11, allowed_fails: 7 }),
    ]
    const router = { num_retries: 1, timeout: 30, cooldown_time: 9, max_fallbacks: 3 }
    const plan = await planOf(ask(list, router, { max_tokens: 50 }))
    expect(plan).toMatchObject({
      object: 'plan',
      model: 'main',
      source: 'user_config',
      group: 'main',
      groups: [
        {
          name: 'main',
          strategy: 'simple-shuffle',
          retries: { num_retries: 1, policy: {} },
          deployments: [
            {
              owner: 'client',
              id: expect.stringMatching(/^\S{22}$/),
              name: 'openai/main',
              provider: 'openai',
              host: 'one.example:8443',
              weight: 3,
              num_retries: 4,
              limits: { rpm: 60, tpm: null, itpm: null, otpm: null, max_parallel: null },
              timeout_s: 20,
              cooldown: { disabled: false, allowed_fails: null, policy: null, cooldown_time_s: 9 },
              state: { cooling_until: null, paused_until: null, rests_until: null, in_flight: 0 },
            },
            {
              host: 'api.mistral.ai',
              weight: null,
              num_retries: 1,
              limits: { rpm: null, tpm: 9000 },
              timeout_s: 30,
              cooldown: { allowed_fails: 7, cooldown_time_s: 11 },
            },
          ],
        },
      ],
      caps: { max_attempts: 12, max_fallbacks: 3, deadline_s: 600, timeout_s: 30 },
      estimated_tokens: { input: 101, output: 50 },
    })
  })

  test('is the order of the fallbacks: depth first, no group twice, no more than max_fallbacks', async () => {
    const list = ['a', 'b', 'c', 'd', 'e'].map((group) => entry(group))
    const fallbacks = [{ a: ['b', 'c'] }, { b: ['d', 'a'] }, { c: ['e'] }]
    const full = await planOf(ask(list, { fallbacks }))
    expect(full.fallbacks.any_failure).toEqual(['b', 'd', 'c', 'e'])
    const bounded = await planOf(ask(list, { fallbacks, max_fallbacks: 2 }))
    expect(bounded.fallbacks.any_failure).toEqual(['b', 'd'])
    const none = await planOf(ask(list, { fallbacks }, { disable_fallbacks: true }))
    expect(none.fallbacks).toEqual({ any_failure: [], context_window: [], content_policy: [] })
  })

  test('is what the request itself brings: credentials without a config', async () => {
    const body = { model: 'gpt-4o', messages, api_key: 'sk-canary', api_base: 'https://mine.example/v1' }
    expect(await planOf(body)).toMatchObject({
      source: 'client_credentials',
      groups: [
        { deployments: [{ owner: 'client', name: 'openai/gpt-4o', host: 'mine.example', timeout_s: 600 }] },
      ],
    })
  })

  test('is no host where nobody is called: a canned answer, or a played delay or timeout', async () => {
    const list = [
      entry('main', { mock_response: 'Hi' }),
      entry('main', { mock_timeout: true }),
      entry('main', { mock_delay: 0 }),
      entry('main', { mock_response: null }),
    ]
    expect(await hostsOf(ask(list))).toEqual([null, null, null, 'api.openai.com'])
    expect(await hostsOf(ask([entry('main')], {}, { mock_response: 'Hi' }))).toEqual([null])
  })

  test('is what job options and headers make of it', async () => {
    const job = { max_attempts: 99, expires_in: 12 }
    const plan = await planOf(ask([entry('main')], {}, { job }))
    expect(plan.caps).toMatchObject({ max_attempts: 30, deadline_s: 12 })
    expect(plan.warnings.join()).toContain('job.max_attempts')
    const later = await planOf(ask([entry('main')]), { headers: { prefer: 'respond-async' } })
    expect(later.caps.deadline_s).toBe(86_400)
  })

  test('is a plan for any endpoint, of its own body', async () => {
    const { messages: _messages, ...rest } = ask([entry('main')])
    expect(await planAt('/v1/responses', { ...rest, input: 'Hi' })).toMatchObject({
      status: 200,
      json: { group: 'main' },
    })
    expect(await planAt('/v1/embeddings', rest)).toMatchObject({
      status: 400,
      json: { error: { param: 'input' } },
    })
    expect(await planAt('/v1/images', rest)).toMatchObject({
      status: 400,
      json: { error: { param: 'endpoint' } },
    })
  })

  test('is a plan for a streamed completion too', async () => {
    expect(await planOf(ask([entry('main')], {}, { stream: true }))).toMatchObject({ group: 'main' })
  })

  test('is what was given and has no effect, by its path', async () => {
    const list = [entry('main', { max_retries: 3, redis_host: null })]
    const router = {
      redis_url: null,
      cache_responses: false,
      client_ttl: 60,
      set_verbose: false,
      retry_after: 0,
    }
    const plan = await planOf(ask(list, router, { debug_level: 'INFO', litellm_trace_id: 'x', metadata: {} }))
    expect(plan.ignored.toSorted()).toEqual([
      'debug_level',
      'litellm_trace_id',
      'user_config.cache_responses',
      'user_config.client_ttl',
      'user_config.model_list[0].litellm_params.max_retries',
      'user_config.model_list[0].litellm_params.redis_host',
      'user_config.redis_url',
      'user_config.set_verbose',
    ])
  })

  test('holds no key, no header and nothing of a base but its host', async () => {
    const list = [
      entry('main', {
        api_key: 'sk-canary',
        api_base: 'https://mine.example/canary-path',
        organization: 'canary-org',
        extra_headers: { 'x-custom': 'canary-header' },
        extra_body: { note: 'canary-body' },
        temperature: 0.123_456,
      }),
      entry('main', {
        model: 'azure/gpt',
        api_key: undefined,
        azure_ad_token: 'canary-token',
        api_base: 'https://me.openai.azure.com/canary-path',
        api_version: '2024-10-21',
      }),
    ]
    const body = ask(
      list,
      {},
      { job: { webhook: { url: 'https://hook.example/canary', secret: 'whsec_Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5' } } },
    )
    const { text, json } = await api.call('POST', PATH, { body })
    expect(json.groups[0].deployments.map(({ host }: { host: string }) => host)).toEqual([
      'mine.example',
      'me.openai.azure.com',
    ])
    expect(text).not.toMatch(/canary|whsec_|123456|xxxx/)
  })
})

describe('what is shown of the operator', () => {
  test('is names, groups and fallbacks, and nothing else', async () => {
    const { text, json } = await api.call('POST', PATH, { body: { model: 'house', messages } })
    expect(json).toMatchObject({ source: 'operator', fallbacks: { any_failure: ['spare'] } })
    const deployments = json.groups.map((group: { deployments: unknown }) => group.deployments)
    expect(deployments).toEqual([
      [{ owner: 'operator', name: 'openai/gpt-4o', provider: 'openai', available: true }],
      [{ owner: 'operator', name: 'groq/llama', provider: 'groq', available: true }],
    ])
    expect(text).not.toMatch(/canary|operator\.example|77/)
  })

  test('is nothing of what he set where a client calls his deployment with its own key', async () => {
    const { text, json } = await api.call('POST', PATH, {
      body: { model: 'open', messages, api_key: 'sk-canary' },
    })
    expect(json.groups[0].deployments).toMatchObject([
      {
        owner: 'client',
        name: 'azure/gpt-4o',
        host: null,
        limits: null,
        prices: null,
        state: { in_flight: 0 },
      },
    ])
    expect(text).not.toMatch(/canary|operator\.example|78/)
  })
})

describe('how deployments stand', () => {
  test('is shown to their owner and to nobody else: neither another tenant nor another customer', async () => {
    const { key } = await api.apiKeys.create('acme')
    const other = await api.apiKeys.create('other')
    const body = ask([entry('main', { api_key: 'sk-shared' }), entry('main', { model: 'groq/x' })])
    await meet(429, body, 'acme')
    await meet(401, body, 'acme')
    const standings = async (call: object) =>
      (await planOf(body, call)).groups[0].deployments.map(({ state }: { state: object }) => state)
    const now = Date.now() / 1000
    const [resting, fresh] = await standings({ key })
    for (const until of [resting.paused_until, resting.cooling_until]) {
      expect(until - now).toBeGreaterThan(50)
      expect(until - now).toBeLessThan(70)
    }
    const never = { cooling_until: null, paused_until: null }
    expect(fresh).toMatchObject(never)
    expect((await standings({ key: other.key }))[0]).toMatchObject(never)
    const ofCustomer = await standings({ key, headers: { 'x-litellm-customer-id': 'carol' } })
    expect(ofCustomer[0]).toMatchObject(never)
  })

  test.for([
    [429, 'spare', 'groq/llama', 'groq'],
    [401, 'house', 'openai/gpt-4o', 'openai'],
  ] as const)('of the operator is whether it rests after a %s, not until when', async (row) => {
    const [status, model, name, provider] = row
    const body = { model, messages }
    expect((await planOf(body)).groups[0].deployments[0].available).toBe(true)
    await meet(status, body, MASTER_TENANT)
    const [deployment] = (await planOf(body)).groups[0].deployments
    expect(deployment).toEqual({ owner: 'operator', name, provider, available: false })
  })
})

describe('asking for a plan', () => {
  test('stores nothing and queues nothing', async () => {
    const keys = () => api.store.redis.keys(`${api.store.prefix}:*`)
    const before = (await keys()).toSorted()
    const headers = { 'idempotency-key': 'once' }
    await planOf(ask([entry('new', { rpm: 5, api_key: 'sk-never-seen' })]), { headers })
    await planOf({ model: 'house', messages }, { headers })
    expect((await keys()).toSorted()).toEqual(before)
    expect(api.store.queued).toEqual([])
  })

  const refused: [string, object, string][] = [
    ['an unknown model', { model: 'nobody', messages }, 'model'],
    ['no messages', { model: 'house' }, 'messages'],
    ['a refused key', ask([entry('main')], { redis_url: 'redis://x' }), 'user_config.redis_url'],
    ['an unknown key', ask([entry('main')], { num_retrys: 1 }), 'user_config.num_retrys'],
    ['a fallback to nowhere', ask([entry('a')], { fallbacks: [{ a: ['b'] }] }), 'user_config.fallbacks[0].a'],
    [
      'a private address',
      { ...ask([entry('a', { api_base: 'http://10.0.0.1/v1' })]) },
      'user_config.model_list[0].litellm_params.api_base',
    ],
    ['two kinds of credentials', ask([entry('a')], {}, { api_key: 'sk-2' }), 'api_key'],
    ['a base for the operator', { model: 'house', messages, api_base: 'https://x.example' }, 'api_base'],
    ['an option that is none', ask([entry('a')], {}, { job: { max_attempt: 1 } }), 'job.max_attempt'],
    [
      'a webhook inside',
      ask([entry('a')], {}, { job: { webhook: { url: 'http://127.0.0.1/' } } }),
      'job.webhook.url',
    ],
  ]
  test.for(refused)('with %s is the 400 that a completion would get', async ([, body, param]) => {
    const plan = await api.call('POST', PATH, { body })
    const completion = await api.call('POST', COMPLETIONS, { body })
    expect(plan).toMatchObject({ status: 400, json: { error: { param } } })
    expect(plan.json).toEqual(completion.json)
  })

  test('without a key that works is the same 401 as everywhere', async () => {
    const body = ask([entry('main')])
    const plan = await api.call('POST', PATH, { key: 'sk-nobody', body })
    const completion = await api.call('POST', COMPLETIONS, { key: 'sk-nobody', body })
    expect(plan.status).toBe(401)
    expect(plan.text).toBe(completion.text)
  })

  test('with something other than JSON is a 415, and with a body that is too long a 413', async () => {
    const headers = { 'content-type': 'text/plain' }
    expect((await api.call('POST', PATH, { body: 'x', headers })).status).toBe(415)
    const body = { model: 'house', messages: ['x'.repeat(11 * 1024 * 1024)] }
    expect((await api.call('POST', PATH, { body })).status).toBe(413)
  })
})

function planAt(endpoint: string, body: object) {
  return api.call('POST', `/v1/plan?endpoint=${endpoint}`, { body })
}
