import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { matchWildcard } from '../../shared/settings/model-names.ts'
import { operatorBundles } from '../../shared/settings/operator-config.ts'
import { configWith, ids, operatorOf, planOf, refusalFor, seedConfig } from './plan-support.ts'

const OPERATOR_KEY = 'sk-operator-secret'

function operatorModel(name: string, params: Record<string, unknown> = {}) {
  return { model_name: name, litellm_params: { model: 'openai/gpt-4o', api_key: OPERATOR_KEY, ...params } }
}

function ownBundle(given: Record<string, unknown>) {
  return planOf({ model: 'gpt-3.5-turbo', api_key: 'sk-mine', ...given }).bundles?.[0]
}

describe('where credentials may come from', () => {
  const operator = operatorOf({
    model_list: [operatorModel('house'), operatorModel('*', { model: 'openai/*' })],
  })

  test("user_config: a plan of it alone, also for a name that is the operator's", () => {
    const { plan, bundles } = planOf({ model: 'mine', user_config: configWith({}) }, operator)
    expect([plan.source, plan.deployments.length]).toEqual(['user_config', 1])
    expect(JSON.stringify(bundles)).not.toContain(OPERATOR_KEY)
    expect(refusalFor({ model: 'house', user_config: configWith({}) }, operator).code).toBe('model_not_found')
  })

  test('user_config beside a credential is ambiguous', () => {
    for (const field of ['api_key', 'api_base', 'base_url', 'organization', 'aws_session_token']) {
      const error = refusalFor({ model: 'mine', user_config: configWith({}), [field]: 'x' }, operator)
      expect([error.code, error.param]).toEqual(['ambiguous_credentials', field])
    }
  })

  test("own credentials for an operator's group without an opt-in are refused", () => {
    expect(refusalFor({ model: 'house', api_key: 'sk-mine' }, operator).param).toBe('api_key')
  })

  test('a bare "*" of the operator does not catch complete credentials', () => {
    const { plan, bundles } = planOf({ model: 'gpt-3.5-turbo', api_key: 'sk-mine' }, operator)
    expect(plan.source).toBe('client_credentials')
    expect(bundles).toMatchObject([{ api_key: 'sk-mine', api_base: 'https://api.openai.com/v1' }])
    expect(refusalFor({ model: 'gpt-3.5-turbo', organization: 'org-x' }, operator).param).toBe('organization')
  })

  test("a bare name that the operator's openai/* would take does not catch complete credentials either", () => {
    const wild = operatorOf({
      model_list: [{ model_name: 'openai/*', litellm_params: { model: 'openai/*', api_key: 'sk-operator' } }],
    })
    expect(planOf({ model: 'gpt-4o' }, wild).plan).toMatchObject({
      source: 'operator',
      group: 'openai/gpt-4o',
    })
    const { plan, bundles } = planOf({ model: 'gpt-4o', api_key: 'sk-own' }, wild)
    expect(plan.source).toBe('client_credentials')
    expect(bundles?.map(({ api_key: key }) => key)).toEqual(['sk-own'])
  })

  test("a deployment's upstream name does not catch complete credentials either", () => {
    const only = operatorOf({ model_list: [operatorModel('house', { model: 'gpt-4o' })] })
    expect(planOf({ model: 'gpt-4o', api_key: 'sk-mine' }, only).bundles).toMatchObject([
      { api_key: 'sk-mine' },
    ])
    expect(planOf({ model: 'gpt-4o' }, only).plan.source).toBe('operator')
  })

  test('an api_key alone, the azure triple, and own base with a bare model name', () => {
    expect(ownBundle({})).toMatchObject({ provider: 'openai', api_base: 'https://api.openai.com/v1' })
    expect(ownBundle({ api_base: 'https://x.example', api_version: '2024-10-21' })).toMatchObject({
      provider: 'azure',
      model: 'gpt-3.5-turbo',
      api_base: 'https://x.example',
      api_version: '2024-10-21',
    })
    expect(ownBundle({ base_url: 'https://X.example/v1//' })).toMatchObject({
      provider: 'openai',
      api_base: 'https://x.example/v1',
      trusted_base: false,
    })
  })

  test("nothing given: the operator's deployments, named by id only", () => {
    const { plan, bundles } = planOf({ model: 'house' }, operator)
    expect([plan.source, plan.owner_id, bundles]).toEqual(['operator', 'operator', null])
    expect(JSON.stringify(plan)).not.toContain(OPERATOR_KEY)
    const found = operatorBundles(operator, ids).get(plan.deployments[0]?.id ?? '')
    expect(found).toMatchObject({ api_key: OPERATOR_KEY, trusted_base: true })
  })

  test('nothing given and no match: model_not_found', () => {
    const only = operatorOf({
      model_list: [operatorModel('house')],
      router_settings: { default_fallbacks: ['house'] },
    })
    const error = refusalFor({ model: 'huose' }, only)
    expect([error.status, error.code, error.param]).toEqual([400, 'model_not_found', 'model'])
    expect(error.message).toContain('"house"')
  })

  test('incomplete credentials name what is missing', () => {
    const missing: [Record<string, unknown>, string][] = [
      [{ model: 'gpt-4o', api_base: 'https://x.example' }, 'api_base'],
      [{ model: 'gpt-4o', base_url: 'https://x.example' }, 'base_url'],
      [{ model: 'gpt-4o', organization: 'org-x' }, 'api_key'],
      [{ model: 'azure/gpt-4o', api_key: 'k' }, 'api_base'],
      [{ model: 'hosted_vllm/m', api_key: 'k' }, 'api_base'],
      [{ model: 'replicate/llama', api_key: 'k' }, 'model'],
      [{ model: 'meta-llama/m', api_key: 'k' }, 'model'],
      [{ model: 'gpt-4o', api_key: 'k', aws_secret_access_key: 'x' }, 'aws_secret_access_key'],
      [{ model: 'gpt-4o', api_key: 'k', azure_ad_token: 'x' }, 'azure_ad_token'],
      [{ model: 'gpt-4o', api_key: 'os.environ/X' }, 'api_key'],
      [{ model: 'gpt-4o', api_key: 7 }, 'api_key'],
      [
        { model: 'gpt-4o', api_key: 'k', extra_headers: { Authorization: 'x' } },
        'extra_headers.Authorization',
      ],
    ]
    for (const [body, param] of missing) expect([body, refusalFor(body).param]).toEqual([body, param])
  })

  test('allow_client_side_credentials: false turns them off; allowed_client_hosts narrows bases', () => {
    const off = operatorOf({ general_settings: { allow_client_side_credentials: false } })
    expect(refusalFor({ model: 'mine', user_config: configWith({}) }, off).param).toBe('user_config')
    expect(refusalFor({ model: 'gpt-4o', api_key: 'k' }, off).code).toBe('client_credentials_disabled')
    const ownKey = { model: 'gpt-4o', api_key: 'k' }
    const narrow = operatorOf({ general_settings: { allowed_client_hosts: ['*.openai.azure.com'] } })
    expect(planOf({ ...ownKey, api_base: 'https://me.openai.azure.com' }, narrow).bundles).toHaveLength(1)
    expect(refusalFor({ ...ownKey, api_base: 'https://me.example.com' }, narrow).param).toBe('api_base')
    expect(planOf(ownKey, narrow).bundles).toHaveLength(1)
  })
})

describe('what is refused', () => {
  test('any nesting ends in a 400, never in a stack that overflows', () => {
    let deep: unknown = 1
    for (let i = 0; i < 100_000; i += 1) deep = [deep]
    expect(refusalFor({ model: 'mine', user_config: configWith({ extra_body: { deep } }) }).status).toBe(400)
    expect(refusalFor({ model: 'gpt-4o', api_key: 'k', mock_response: deep }).status).toBe(400)
  })
})

describe('settings of a request', () => {
  const user_config = seedConfig()

  test('they win over the config; over a cap they are lowered and named', () => {
    const { plan, warnings } = planOf({
      model: 'user-azure-instance',
      user_config,
      num_retries: 99,
      timeout: '3',
      max_fallbacks: 0,
    })
    expect(plan).toMatchObject({ request_num_retries: 10, num_retries: 2, timeout_s: 3, max_fallbacks: 0 })
    expect(plan.deployments.map(({ timeout_s }) => timeout_s)).toEqual([null, null])
    expect(warnings).toEqual([expect.stringContaining('`num_retries`')])
  })

  test("a timeout of a request on the operator's deployments is marked as the client's", () => {
    const operator = operatorOf({ model_list: [operatorModel('house', { timeout: 30 })] })
    for (const field of ['timeout', 'request_timeout']) {
      expect(planOf({ model: 'house', [field]: 0.001 }, operator).plan.is_timeout_clients).toBe(true)
    }
    expect(planOf({ model: 'house' }, operator).plan.is_timeout_clients).toBeUndefined()
    const own = planOf({ model: 'user-azure-instance', user_config, timeout: 1 })
    expect(own.plan.is_timeout_clients).toBeUndefined()
  })

  test('fallbacks in map form replace those of the config', () => {
    const swapped = [{ 'user-openai-instance': ['user-azure-instance'] }]
    const { plan } = planOf({ model: 'user-openai-instance', user_config, fallbacks: swapped })
    expect(plan.fallbacks).toEqual(swapped[0])
    expect(planOf({ model: 'user-azure-instance', user_config, disable_fallbacks: true }).plan).toMatchObject(
      {
        fallbacks: {},
        deployments: [{ group: 'user-azure-instance' }],
      },
    )
    expect(refusalFor({ model: 'user-azure-instance', user_config, fallbacks: [{ a: ['b'] }] }).param).toBe(
      'fallbacks[0].a',
    )
  })

  const wrong: [string, unknown][] = [
    ['num_retries', -1],
    ['num_retries', '1'],
    ['timeout', 0],
    ['request_timeout', 'x'],
    ['max_fallbacks', 1.5],
    ['disable_fallbacks', 'yes'],
    ['fallbacks', 'x'],
    ['model', ''],
    ['model', 7],
    ['model', 'x'.repeat(600)],
    ['extra_headers', { 'x-a': 'b' }],
  ]
  test.each(wrong)('%s: %j is refused', (field, value) => {
    expect(refusalFor({ model: 'user-azure-instance', user_config, [field]: value }).param).toBe(field)
  })

  test("mock_response is for own plans; on an operator's model test switches are refused", () => {
    const mocked = planOf({ model: 'user-azure-instance', user_config, mock_response: 'hello' })
    expect(mocked.bundles?.map(({ mock_response }) => mock_response)).toEqual(['hello', 'hello'])
    expect(mocked.body).not.toHaveProperty('mock_response')
    const operator = operatorOf({ model_list: [operatorModel('house')] })
    for (const field of ['mock_response', 'mock_timeout', 'mock_testing_fallbacks']) {
      expect(refusalFor({ model: 'house', [field]: true }, operator).param).toBe(field)
      expect(planOf({ model: 'house', [field]: false }, operator).plan.source).toBe('operator')
    }
  })
})

describe('names', () => {
  test("a name that is a deployment's own model selects that deployment", () => {
    const { plan } = planOf({ model: 'gpt-3.5-turbo', user_config: seedConfig() })
    expect([plan.group, plan.deployments.map(({ name }) => name)]).toEqual([
      'user-openai-instance',
      ['openai/gpt-3.5-turbo'],
    ])
  })

  test('an alias leads to its group, an unknown name to the default fallback', () => {
    const user_config = seedConfig({
      model_group_alias: { short: { model: 'user-openai-instance', hidden: true } },
    })
    expect(planOf({ model: 'short', user_config }).plan.group).toBe('user-openai-instance')
    const withDefault = seedConfig({ default_fallbacks: ['user-openai-instance'] })
    expect(planOf({ model: 'unknown', user_config: withDefault }).plan.group).toBe('user-openai-instance')
    expect(refusalFor({ model: 'unknown', user_config }).code).toBe('model_not_found')
  })

  test('only groups that can be reached are in the plan, cycles included once', () => {
    const user_config = {
      model_list: ['a', 'b', 'c', 'd', 'vendor/e'].map((name) => ({
        model_name: name,
        litellm_params: { model: `openai/${name}`, api_key: 'k' },
      })),
      fallbacks: [{ a: ['b'] }, { b: ['a'] }, { e: ['d'] }, { '*': ['c'] }],
    }
    const reach = (model: string) => planOf({ model, user_config }).plan
    expect(reach('a').deployments.map(({ group }) => group)).toEqual(['a', 'b'])
    expect(reach('a').fallbacks).toEqual({ a: ['b'], b: ['a'] })
    expect(reach('d').fallbacks).toEqual({ '*': ['c'] })
    expect(reach('vendor/e').fallbacks).toEqual({ 'vendor/e': ['d'], '*': ['c'] })
  })

  test('fallbacks may stand under an alias, a wildcard or the name that was asked for', () => {
    const user_config = seedConfig({
      model_list: ['openai/*', 'b', 'c', 'd'].map((name) => ({
        model_name: name,
        litellm_params: { model: name === 'b' ? 'openai/upstream' : 'openai/*', api_key: 'k' },
      })),
      model_group_alias: { short: 'b' },
      fallbacks: [{ 'openai/*': ['c'] }, { short: ['d'] }, { b: ['c'] }],
    })
    const fallbacksOf = ['openai/x', 'short', 'b'].map(
      (model) => planOf({ model, user_config }).plan.fallbacks,
    )
    expect(fallbacksOf).toEqual([{ 'openai/x': ['c'] }, { b: ['d'] }, { b: ['c'] }])
  })

  test('wildcards are anchored, the most literal one wins, and what they caught fills the model', () => {
    const operator = operatorOf({
      model_list: [
        operatorModel('*', { model: 'openai/*' }),
        operatorModel('groq/*', { model: 'groq/*' }),
        operatorModel('groq/llama-*', { model: 'groq/special-*' }),
        operatorModel('fixed-*', { model: 'openai/gpt-4o' }),
        operatorModel('groq/llama-exact', { model: 'groq/exact' }),
      ],
    })
    const modelOf = (model: string) => planOf({ model }, operator).plan.deployments[0]?.name
    expect(modelOf('groq/llama-3')).toBe('groq/special-3')
    expect(modelOf('groq/llama-exact')).toBe('groq/exact')
    expect(modelOf('groq/other')).toBe('groq/other')
    expect(modelOf('xgroq-other')).toBe('openai/xgroq-other')
    expect(modelOf('fixed-1')).toBe('openai/gpt-4o')
  })

  test("a bare * does not send one provider's key to another", () => {
    const operator = operatorOf({ model_list: [operatorModel('*', { model: '*' })] })
    expect(planOf({ model: 'gpt-4o' }, operator).plan.deployments[0]?.name).toBe('openai/gpt-4o')
    expect(refusalFor({ model: 'mistral/large' }, operator).code).toBe('model_not_found')
  })

  test('a worker finds the bundle of a wildcard by its operator_id', () => {
    const operator = operatorOf({ model_list: [operatorModel('groq/*', { model: 'groq/*' })] })
    const bundles = operatorBundles(operator, ids)
    const [one, other] = ['groq/a', 'groq/b'].map((model) => planOf({ model }, operator).plan.deployments[0])
    expect(one?.id).not.toBe(other?.id)
    expect(bundles.get(one?.operator_id ?? '')).toMatchObject({ api_key: OPERATOR_KEY })
    expect(one?.operator_id).toBe(other?.operator_id)
  })

  test('wildcards match as anchored patterns do, in linear time', () => {
    const letters = fc.string({ unit: fc.constantFrom('a', 'b', '*'), maxLength: 8 })
    const name = fc.string({ unit: fc.constantFrom('a', 'b'), maxLength: 12 })
    fc.assert(
      fc.property(letters, name, (pattern, text) => {
        const captured = matchWildcard(pattern, text)
        expect(captured !== null).toBe(new RegExp(`^${pattern.replaceAll('*', '.*')}$`).test(text))
        if (!captured) return
        const rebuilt = pattern.split('*').map((piece, index) => (index ? captured[index - 1] : '') + piece)
        expect(rebuilt.join('')).toBe(text)
      }),
      { numRuns: 2000 },
    )
    expect(matchWildcard('a*'.repeat(100) + 'b', 'a'.repeat(512))).toBeNull()
  })
})
