import { describe, expect, test } from 'vitest'
import { ConfigError } from '../../shared/errors.ts'
import { configWith, operatorOf, planOf, refusalFor } from './plan-support.ts'

const path = 'user_config'
const params = `${path}.model_list[0].litellm_params`

describe('defaults of all deployments', () => {
  const wrong = [-5, 0, '0', 'abc', [], {}, true].map((value) => ({ value }))
  test.each(wrong)('a timeout of $value is refused, as it is in one deployment', ({ value }) => {
    for (const field of ['timeout', 'request_timeout']) {
      const router = { default_litellm_params: { [field]: value } }
      const error = refusalFor({ model: 'mine', user_config: configWith({}, router) })
      expect(error.param).toBe(`${path}.default_litellm_params.${field}`)
      expect(refusalFor({ model: 'mine', user_config: configWith({ [field]: value }) }).param).toBe(
        `${params}.${field}`,
      )
      expect(() => operatorOf({ router_settings: router })).toThrow(ConfigError)
    }
  })

  test("a stream's timeout and dropped parameters are those of each deployment that has none of its own", () => {
    const defaults = { stream_timeout: '7', drop_params: 'true', additional_drop_params: ['user'] }
    const router = { default_litellm_params: defaults }
    for (const [own, streamS, drop] of [
      [{}, 7, { unsupported: true, names: ['user'], allowed: [] }],
      [
        { stream_timeout: 3, drop_params: false, additional_drop_params: ['seed'] },
        3,
        { unsupported: false, names: ['seed'], allowed: [] },
      ],
    ] as const) {
      const config = configWith(own, router)
      const { plan, bundles } = planOf({ model: 'mine', user_config: config })
      expect([plan.deployments[0]?.stream_timeout_s, bundles?.[0]?.drop]).toEqual([streamS, drop])
      const { model_list: list } = config
      const [house] = operatorOf({ model_list: list, router_settings: router }).deployments
      expect([house?.settings.stream_timeout_s, house?.bundle.drop]).toEqual([streamS, drop])
    }
  })

  test('max_retries has no effect and says so, at both places', () => {
    const config = configWith({ max_retries: 2 }, { default_litellm_params: { max_retries: 2 } })
    const { warnings } = planOf({ model: 'mine', user_config: config })
    expect(warnings).toEqual([
      expect.stringContaining('`user_config.default_litellm_params.max_retries` has no effect'),
      expect.stringContaining(`\`${params}.max_retries\` has no effect`),
    ])
    const none = configWith({ max_retries: 0 }, { default_litellm_params: { max_retries: 0 } })
    expect(planOf({ model: 'mine', user_config: none }).warnings).toEqual([])
  })
})

describe('paths of files on the server', () => {
  test.each([
    '/etc/key.json',
    './key',
    '../key',
    '~/key',
    'file:///etc/key',
    'C:\\key',
    'credentials.json',
    'key.pem',
  ])('a credential given as the file path %s, also where nobody is called', (value) => {
    for (const field of ['vertex_credentials', 'vertex_ai_credentials', 'oci_key']) {
      const config = configWith({ [field]: value, mock_response: 'x' })
      const error = refusalFor({ model: 'mine', user_config: config })
      expect([error.param, error.message]).toEqual([`${params}.${field}`, expect.stringContaining('file')])
      expect(refusalFor({ model: 'gpt-4o', api_key: 'k', [field]: value }).param).toBe(field)
    }
  })

  test.each(['/wEXaGVsbG8gd29ybGQ==', '~..', '....key', '//8=', 'abc.pem', 'C:\\x'])(
    'but not an ordinary key that looks like one: %s',
    (value) => {
      for (const given of [
        { api_key: value, organization: value },
        { model: 'azure/x', api_base: 'https://me.example', api_key: null, azure_ad_token: value },
      ]) {
        expect(planOf({ model: 'mine', user_config: configWith(given) }).plan.deployments).toHaveLength(1)
      }
    },
  )
})

describe('what a dump of LiteLLM holds beside the settings', () => {
  test('a policy or a routing group that says null says nothing, for a client and for the operator', () => {
    const policy = { BadRequestErrorRetries: null, TimeoutErrorRetries: 4, DefaultRetries: null }
    const allowed = { BadRequestErrorAllowedFails: null, TimeoutErrorAllowedFails: 0 }
    const args = { routing_strategy_args: null, model_priorities: null }
    const settings = {
      retry_policy: policy,
      model_group_retry_policy: { mine: policy },
      allowed_fails_policy: allowed,
      routing_groups: [{ group_name: 'all', models: ['mine'], routing_strategy: 'least-busy', ...args }],
    }
    const config = configWith({ model_info: { allowed_fails_policy: allowed } }, settings)
    const { model_list: list } = config
    for (const { plan } of [
      planOf({ model: 'mine', user_config: config }),
      planOf({ model: 'mine' }, operatorOf({ model_list: list, router_settings: settings })),
    ]) {
      expect(plan).toMatchObject({
        retry_policies: { mine: { timeout: 4 } },
        allowed_fails_policy: { timeout: 0 },
        strategies: { mine: { name: 'least_busy' } },
      })
      expect(plan.deployments[0]?.allowed_fails_policy).toEqual({ timeout: 0 })
    }
  })

  test('switches that are off and an empty model_info are nothing', () => {
    const dumped = {
      merge_reasoning_content_in_choices: false,
      use_in_pass_through: false,
      use_litellm_proxy: false,
      model_info: {},
      max_budget: null,
    }
    expect(planOf({ model: 'mine', user_config: configWith(dumped) }).warnings).toEqual([])
    const on = configWith({ merge_reasoning_content_in_choices: true })
    expect(refusalFor({ model: 'mine', user_config: on }).param).toBe(
      `${params}.merge_reasoning_content_in_choices`,
    )
  })

  test("model_info of litellm_params is the deployment's, for a client and for the operator", () => {
    const config = configWith({ model_info: { cooldown_time: 7, allowed_fails: 4 } })
    const settings = { cooldown_time_s: 7, allowed_fails: 4 }
    expect(planOf({ model: 'mine', user_config: config }).plan.deployments).toMatchObject([settings])
    expect(planOf({ model: 'mine' }, operatorOf(config)).plan.deployments).toMatchObject([settings])
    for (const info of [7, [], 'x']) {
      const wrong = configWith({ model_info: info })
      expect(refusalFor({ model: 'mine', user_config: wrong }).param).toMatch(/model_info$/)
    }
    const harmful = configWith({ model_info: { litellm_credential_name: 'x' } })
    expect(refusalFor({ model: 'mine', user_config: harmful }).code).toBe('refused_parameter')
  })
})

describe('a required key', () => {
  const own = { model: 'gpt-4o', api_key: 'k' }
  const item = `${path}.model_list[0]`
  const misspelt: [string, unknown, string][] = [
    [`${path}.model_lst`, { model_lst: [] }, '"model_list"'],
    [`${path}.modelList`, { modelList: [] }, '"model_list"'],
    [`${item}.litelm_params`, { model_list: [{ model_name: 'a', litelm_params: own }] }, '"litellm_params"'],
    [`${item}.model_nam`, { model_list: [{ model_nam: 'a', litellm_params: own }] }, '"model_name"'],
    [`${item}.litellm_params.modle`, configWith({ model: null, modle: 'gpt-4o' }), '"model"'],
  ]
  test.each(misspelt)('that is misspelt is named as it stands: %s', (param, user_config, meant) => {
    const error = refusalFor({ model: 'mine', user_config })
    expect([error.param, error.message]).toEqual([param, expect.stringContaining(`Did you mean ${meant}?`)])
  })

  test('that is missing is said to be needed', () => {
    const error = refusalFor({ model: 'mine', user_config: { model_list: [{ model_name: 'a' }] } })
    expect(error.message).toBe(`\`${item}.litellm_params\` is needed.`)
    expect(refusalFor({ model: 'mine', user_config: {} }).message).toBe('`user_config.model_list` is needed.')
  })
})

describe('settings that name groups', () => {
  const wrong: [string, Record<string, unknown>][] = [
    ['context_window_fallbacks[0].mine', { context_window_fallbacks: [{ mine: ['other'] }] }],
    ['context_window_fallbacks[0].other', { context_window_fallbacks: [{ other: ['mine'] }] }],
    ['content_policy_fallbacks[0].mine', { content_policy_fallbacks: [{ mine: ['other'] }] }],
    ['model_group_retry_policy.other', { model_group_retry_policy: { other: {} } }],
    ['routing_groups[0].models[1]', { routing_groups: [routingGroup(['mine', 'other'])] }],
    [
      'routing_groups[0].model_priorities.other',
      { routing_groups: [{ ...routingGroup(['mine']), model_priorities: { other: 1 } }] },
    ],
  ]
  test.each(wrong)('name those of the config only: %s', (param, router) => {
    const error = refusalFor({ model: 'mine', user_config: configWith({}, router) })
    expect([error.param, error.message]).toEqual([`${path}.${param}`, expect.stringContaining('"other"')])
    const operator = operatorOf({ ...configWith({}), router_settings: router })
    expect(operator.warnings.join('\n')).toContain(`router_settings.${param} names "other"`)
  })

  test('and are accepted where they do', () => {
    const router = {
      context_window_fallbacks: [{ mine: ['mine'] }],
      model_group_retry_policy: { mine: { TimeoutErrorRetries: 1 } },
      routing_groups: [routingGroup(['mine', 'openai/gpt-4o'])],
    }
    const { plan } = planOf({ model: 'mine', user_config: configWith({}, router) })
    expect(plan).toMatchObject({
      context_window_fallbacks: { mine: ['mine'] },
      retry_policies: { mine: { timeout: 1 } },
    })
    const wildcard = { model_name: 'groq/*', litellm_params: { model: 'groq/*', api_key: 'k' } }
    const policy = { model_list: [wildcard], model_group_retry_policy: { 'groq/*': {}, 'groq/llama': {} } }
    expect(planOf({ model: 'groq/llama', user_config: policy }).plan.source).toBe('user_config')
  })
})

function routingGroup(models: string[]) {
  return { group_name: 'routed', models, routing_strategy: 'least-busy' }
}
