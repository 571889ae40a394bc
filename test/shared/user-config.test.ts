import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { configWith, planOf, refusalFor, seedConfig } from './plan-support.ts'

const path = 'user_config'
const params = `${path}.model_list[0].litellm_params`

describe('a valid user_config', () => {
  test("the seed's config becomes a plan with its limits, retries and fallback", () => {
    const { plan, bundles, body, warnings } = planOf({
      model: 'user-azure-instance',
      user_config: seedConfig(),
    })
    expect(plan).toMatchObject({
      source: 'user_config',
      group: 'user-azure-instance',
      fallbacks: { 'user-azure-instance': ['user-openai-instance'] },
      num_retries: 2,
      allowed_fails: 3,
      max_fallbacks: 5,
      timeout_s: 600,
      cooldown_time_s: 5,
      retry_after_s: 0,
      max_attempts: 12,
    })
    expect(plan.deployments.map(({ name, rpm, tpm, timeout_s }) => [name, rpm, tpm, timeout_s])).toEqual([
      ['azure/chatgpt-v-2', 1800, 240_000, 10],
      ['openai/gpt-3.5-turbo', 1800, 240_000, 10],
    ])
    expect(bundles).toMatchObject([
      {
        provider: 'azure',
        api_base: 'https://user.openai.azure.com',
        api_key: 'azure-key',
        api_version: '2024-10-21',
      },
      {
        provider: 'openai',
        api_base: 'https://api.openai.com/v1',
        api_key: 'openai-key',
        trusted_base: false,
      },
    ])
    expect(body).toEqual({ model: 'user-azure-instance', messages: [{ role: 'user', content: 'hi' }] })
    expect(warnings).toEqual([])
  })

  test('what a RouterConfig dump carries of inert values is accepted and ignored', () => {
    const inert = {
      redis_url: null,
      redis_host: null,
      redis_port: null,
      redis_password: null,
      cache_responses: false,
      cache_kwargs: {},
      caching_groups: null,
      client_ttl: 3600,
      timeout: null,
      default_litellm_params: {},
      set_verbose: false,
      debug_level: 'INFO',
      context_window_fallbacks: [],
      model_group_alias: {},
      retry_after: 0,
      routing_strategy: 'simple-shuffle',
      optional_pre_call_checks: [],
      alerting_config: null,
    }
    const { warnings } = planOf({ model: 'gpt-3.5-turbo', user_config: seedConfig(inert) })
    expect(warnings).toEqual([])
  })

  test('an explicit allowed_fails of 3 is kept apart from none', () => {
    const fails = [{ allowed_fails: 3 }, { allowed_fails: 0 }, {}].map(
      (router) => planOf({ model: 'mine', user_config: configWith({}, router) }).plan.allowed_fails,
    )
    expect(fails).toEqual([3, 0, null])
  })

  test('body parameters of a deployment go into its bundle: defaults, own, then extra_body', () => {
    const config = configWith(
      {
        temperature: 0.2,
        extra_body: { top_a: 1 },
        vertex_location: 'us-east1',
        extra_headers: { 'X-Team': 'a' },
      },
      { default_litellm_params: { temperature: 1, max_tokens: 5, timeout: 7 } },
    )
    const { bundles, plan } = planOf({ model: 'mine', user_config: config })
    expect(bundles?.[0]?.params).toEqual({
      temperature: 0.2,
      max_tokens: 5,
      vertex_location: 'us-east1',
      top_a: 1,
    })
    expect(bundles?.[0]?.headers).toEqual({ 'x-team': 'a' })
    expect(plan.deployments[0]?.timeout_s).toBe(7)
  })

  test('a mocked deployment needs neither key nor a provider we serve', () => {
    const config = configWith({ model: 'replicate/llama', api_key: null, mock_response: 'hello' })
    const { bundles } = planOf({ model: 'mine', user_config: config })
    expect(bundles).toMatchObject([{ provider: 'replicate', api_key: null, mock_response: 'hello' }])
  })

  test('a list of organizations is one deployment each', () => {
    const { plan, bundles } = planOf({
      model: 'mine',
      user_config: configWith({ organization: ['org-a', 'org-b'] }),
    })
    expect(bundles?.map(({ organization }) => organization)).toEqual(['org-a', 'org-b'])
    expect(new Set(plan.deployments.map(({ id }) => id)).size).toBe(2)
  })
})

describe('what could do harm is refused by name', () => {
  const harmful: [string, unknown][] = [
    ['redis_url', 'redis://10.0.0.1'],
    ['redis_host', '10.0.0.1'],
    ['redis_anything', 'x'],
    ['cache_responses', true],
    ['cache_kwargs', { startup_nodes: [] }],
    ['cache_something_new', 1],
    ['caching_groups', [['a', ['b']]]],
    ['set_verbose', true],
    ['debug_level', 'DEBUG'],
    ['callbacks', ['langfuse']],
    ['success_callback', ['langfuse']],
    ['alerting_config', { webhook_url: 'https://example.com' }],
    ['assistants_config', { a: 1 }],
    ['search_tools', [1]],
    ['router_general_settings', { pass_through_all_models: true }],
    ['optional_pre_call_checks', ['prompt_caching']],
    ['provider_budget_config', { openai: { budget_limit: 1 } }],
    ['plugins', ['x']],
    ['weights', { a: 1 }],
  ]
  test.each(harmful)('user_config.%s', (key, value) => {
    const error = refusalFor({ model: 'mine', user_config: configWith({}, { [key]: value }) })
    expect([error.status, error.param]).toEqual([400, `${path}.${key}`])
  })

  const harmfulParams: [string, unknown][] = [
    ['litellm_credential_name', 'prod'],
    ['use_in_pass_through', true],
    ['use_litellm_proxy', true],
    ['oci_key_file', '/etc/key'],
    ['aws_profile_name', 'default'],
    ['auto_router_config', 'x'],
    ['vector_store_id', 'x'],
    ['milvus_host', 'x'],
    ['callbacks', ['x']],
    ['max_budget', 3],
    ['redis_host', 'x'],
    ['configurable_clientside_auth_params', ['api_base']],
  ]
  test.each(harmfulParams)('litellm_params.%s', (key, value) => {
    expect(refusalFor({ model: 'mine', user_config: configWith({ [key]: value }) }).param).toBe(
      `${params}.${key}`,
    )
  })

  const references: [string, Record<string, unknown>][] = [
    ['api_key', { api_key: 'os.environ/OPENAI_API_KEY' }],
    ['api_key', { api_key: '  OS.ENVIRON/OPENAI_API_KEY' }],
    ['azure_ad_token', { model: 'azure/x', azure_ad_token: 'oidc/google/aud' }],
    ['extra_body.deep.list[1].key', { extra_body: { deep: { list: ['a', { key: 'os.environ/X' }] } } }],
    ['extra_headers.x-team', { extra_headers: { 'x-team': 'os.environ/X' } }],
    ['mock_response', { mock_response: 'oidc/x' }],
  ]
  test.each(references)('a reference to the server in %s', (field, given) => {
    const error = refusalFor({ model: 'mine', user_config: configWith(given) })
    expect(error.param).toBe(`${params}.${field}`)
    expect(error.message).not.toContain('OPENAI')
  })

  test('the words os.environ/ in a prompt are just words', () => {
    const messages = [{ role: 'user', content: 'os.environ/OPENAI_API_KEY' }]
    expect(planOf({ model: 'mine', messages, user_config: configWith({}) }).body['messages']).toEqual(
      messages,
    )
  })

  const secrets: [string, string][] = [
    ['vertex_credentials', '{}'],
    ['aws_secret_access_key', 'x'],
    ['aws_bedrock_runtime_endpoint', 'https://example.com'],
    ['azure_ad_token', 'x'],
    ['client_secret', 'x'],
    ['deployment_url', 'https://example.com'],
  ]
  test.each(secrets)('%s, which openai does not use', (key, value) => {
    const error = refusalFor({ model: 'mine', user_config: configWith({ [key]: value }) })
    expect(error.param).toBe(`${params}.${key}`)
  })

  test.each([
    'Authorization',
    'api-key',
    'X-Api-Key',
    'x-goog-api-key',
    'Host',
    'cookie',
    'X-Forwarded-For',
    'Proxy-Authorization',
    'Metadata-Flavor',
    'Transfer-Encoding',
  ])('header %s', (name) => {
    for (const field of ['extra_headers', 'headers', 'default_headers']) {
      const error = refusalFor({ model: 'mine', user_config: configWith({ [field]: { [name]: 'x' } }) })
      expect(error.param).toBe(`${params}.${field}.${name}`)
    }
  })

  test.each(['api_key', 'api_base', 'model', 'messages', 'stream', 'user_config', 'litellm_credential_name'])(
    'extra_body.%s',
    (key) => {
      const error = refusalFor({ model: 'mine', user_config: configWith({ extra_body: { [key]: 'x' } }) })
      expect(error.param).toBe(`${params}.extra_body.${key}`)
    },
  )

  test.each(['sk\r\nx', 'sk\u0000x', 'sk x', 'sk-ключ', '', '   '])(
    'the key %j, without repeating it',
    (key) => {
      const error = refusalFor({ model: 'mine', user_config: configWith({ api_key: key }) })
      expect(error.param).toBe(`${params}.api_key`)
      if (key.trim() !== '') expect(error.message).not.toContain(key)
    },
  )

  test('no private address, whatever names it', () => {
    for (const field of ['api_base', 'base_url']) {
      for (const url of [
        'https://169.254.169.254/v1',
        'http://127.0.0.1:6379',
        'https://[::1]/',
        'ftp://x',
        'my-azure-base',
        '',
      ]) {
        const error = refusalFor({ model: 'mine', user_config: configWith({ [field]: url }) })
        expect(error.param).toBe(`${params}.${field}`)
      }
    }
  })
})

describe('what is unknown or wrong is refused with its path', () => {
  const unknown: [string, Record<string, unknown>, string][] = [
    ['user_config.num_retrys', seedConfig({ num_retrys: 1 }), '"num_retries"'],
    ['user_config.modelList', seedConfig({ modelList: 1 }), '"model_list"'],
    ['user_config.surprise', seedConfig({ surprise: 1 }), ''],
    [`${params}.apiKey`, configWith({ apiKey: 'x' }), '"api_key"'],
    [`${params}.temprature`, configWith({ temprature: 1 }), '"temperature"'],
    [`${params}.my_own_knob`, configWith({ my_own_knob: 1 }), '`extra_body`'],
    [
      `${path}.default_litellm_params.api_key`,
      configWith({}, { default_litellm_params: { api_key: 'x' } }),
      'one deployment',
    ],
    [`${path}.retry_policy.TimeoutRetries`, configWith({}, { retry_policy: { TimeoutRetries: 1 } }), ''],
  ]
  test.each(unknown)('%s', (param, config, advice) => {
    const error = refusalFor({ model: 'mine', user_config: config })
    expect([error.status, error.param]).toEqual([400, param])
    expect(error.message).toContain(advice)
  })

  test('a key of litellm_params that stands beside it is told where it belongs', () => {
    const config = { model_list: [{ model_name: 'mine', api_key: 'x', litellm_params: { model: 'gpt-4o' } }] }
    const error = refusalFor({ model: 'mine', user_config: config })
    expect(error.param).toBe('user_config.model_list[0].api_key')
    expect(error.message).toContain('litellm_params')
  })

  const wrong: [string, Record<string, unknown>][] = [
    ['user_config.num_retries', configWith({}, { num_retries: -1 })],
    ['user_config.num_retries', configWith({}, { num_retries: '2' })],
    ['user_config.timeout', configWith({}, { timeout: 0 })],
    ['user_config.timeout', configWith({}, { timeout: '0' })],
    ['user_config.timeout', configWith({}, { timeout: 'soon' })],
    ['user_config.cooldown_time', configWith({}, { cooldown_time: -1 })],
    ['user_config.allowed_fails', configWith({}, { allowed_fails: 1.5 })],
    ['user_config.routing_strategy', configWith({}, { routing_strategy: 'fastest' })],
    ['user_config.model_list', { model_list: [] }],
    ['user_config.model_list', {}],
    ['user_config.model_list[0].litellm_params', { model_list: [{ model_name: 'mine' }] }],
    [`${params}.rpm`, configWith({ rpm: 0 })],
    [`${params}.weight`, configWith({ weight: -1 })],
    [`${params}.model`, configWith({ model: '' })],
    [`${params}.model`, configWith({ model: 'nobody/gpt' })],
    [`${params}.model`, configWith({ model: 'replicate/llama' })],
    [`${params}.api_key`, configWith({ api_key: null })],
    [`${params}.api_base`, configWith({ model: 'azure/gpt' })],
    [`${params}.api_base`, configWith({ model: 'hosted_vllm/llama' })],
    [
      `${params}.base_url`,
      configWith({ api_base: 'https://a.example/v1', base_url: 'https://b.example/v1' }),
    ],
    ['user_config.fallbacks[0].mine[0]', configWith({}, { fallbacks: [{ mine: [''] }] })],
    ['user_config.fallbacks[0]', configWith({}, { fallbacks: [{ mine: ['mine'], other: ['mine'] }] })],
    ['user_config.fallbacks[0].mine', configWith({}, { fallbacks: [{ mine: ['mien'] }] })],
    ['user_config.fallbacks[0].other', configWith({}, { fallbacks: [{ other: ['mine'] }] })],
    ['user_config.default_fallbacks', configWith({}, { default_fallbacks: ['nobody'] })],
    ['user_config.model_group_alias.short', configWith({}, { model_group_alias: { short: 'nobody' } })],
  ]
  test.each(wrong)('%s', (param, config) => {
    expect(refusalFor({ model: 'mine', user_config: config }).param).toBe(param)
  })

  test.each([null, 'text', 7, [], true])('a user_config that is %j, unless it is null', (value) => {
    const error = refusalFor({ model: 'mine', user_config: value })
    expect(error.param).toBe(value === null ? 'model' : 'user_config')
  })

  test('more than 100 deployments, or more than 256 KB', () => {
    const item = configWith({}).model_list[0]
    const many = { model_list: Array.from({ length: 101 }, () => item) }
    expect(refusalFor({ model: 'mine', user_config: many }).param).toBe('user_config.model_list')
    const organization = Array.from({ length: 101 }, (_, index) => `org-${index}`)
    expect(refusalFor({ model: 'mine', user_config: configWith({ organization }) }).param).toBe(
      'user_config.model_list',
    )
    const large = configWith({ extra_body: { text: 'x'.repeat(256 * 1024) } })
    expect(refusalFor({ model: 'mine', user_config: large }).param).toBe('user_config')
  })

  test('values over a cap are lowered and named', () => {
    const config = configWith(
      { timeout: 6000, num_retries: 50, cooldown_time: 1e6 },
      { num_retries: 11, max_fallbacks: 99, timeout: '601', cooldown_time: 1e6, retry_after: 500 },
    )
    const { plan, warnings } = planOf({ model: 'mine', user_config: config })
    expect(plan).toMatchObject({ num_retries: 10, max_fallbacks: 10, timeout_s: 600, cooldown_time_s: 3600 })
    expect(plan.deployments[0]).toMatchObject({ timeout_s: 600, num_retries: 10, cooldown_time_s: 3600 })
    expect(warnings).toHaveLength(8)
    expect(warnings[0]).toContain('user_config.num_retries')
  })

  test('whatever is sent, the answer is a plan or a 400 with a path', () => {
    const json = fc.jsonValue({ maxDepth: 4 })
    fc.assert(
      fc.property(json, json, json, (list, given, router) => {
        for (const config of [
          list,
          { model_list: list },
          configWith(Object(given)),
          configWith({}, Object(router)),
        ]) {
          try {
            planOf({ model: 'mine', user_config: config })
          } catch (error) {
            expect(error).toMatchObject({ status: 400, param: expect.any(String) })
          }
        }
      }),
    )
  })
})
