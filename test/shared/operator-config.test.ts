import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { ConfigError } from '../../shared/errors.ts'
import {
  loadOperatorConfig,
  operatorBundles,
  operatorModelNames,
} from '../../shared/settings/operator-config.ts'
import { ids, planOf, refusalFor } from './plan-support.ts'

const folder = mkdtempSync(join(tmpdir(), 'operator-config-'))
afterAll(() => rmSync(folder, { recursive: true }))

function load(text: string, environment: Record<string, string> = {}) {
  const file = join(folder, 'config.yaml')
  writeFileSync(file, text)
  return loadOperatorConfig(file, environment)
}

/** The message of the ConfigError that a file leads to. */
function refusalOf(text: string, environment: Record<string, string> = {}): string {
  try {
    load(text, environment)
  } catch (error) {
    if (error instanceof ConfigError) return error.message
    throw error
  }
  throw new Error('nothing was refused')
}

const oneModel = (params: string) => `
model_list:
  - model_name: house
    litellm_params:
      model: gpt-4o
${params.replaceAll(/^/gm, '      ')}
`

describe('a config that loads', () => {
  test('no file is an empty config that takes client credentials', () => {
    const config = loadOperatorConfig(null, {})
    expect(config).toMatchObject({
      deployments: [],
      generalSettings: { masterKey: null, allowClientSideCredentials: true, allowedClientHosts: null },
      warnings: [],
    })
    expect(load('# nothing yet').deployments).toEqual([])
  })

  test('the example file loads without a warning', () => {
    const environment = {
      OPENAI_API_KEY: 'sk-1',
      AZURE_API_BASE: 'https://me.openai.azure.com',
      AZURE_API_KEY: 'k',
    }
    const config = loadOperatorConfig(
      new URL('../../config.example.yaml', import.meta.url).pathname,
      environment,
    )
    expect(operatorModelNames(config)).toEqual(['gpt-4o-mini', 'fireworks_ai/*'])
    expect(config.warnings).toEqual([])
    const { plan } = planOf({ model: 'gpt-4o-mini' }, config)
    expect(plan.deployments.map(({ name, rpm }) => [name, rpm])).toEqual([
      ['openai/gpt-4o-mini', 500],
      ['azure/my-gpt-4o-mini', 1000],
    ])
  })

  test("LiteLLM's documented pattern loads as it is written there, with an escape that YAML does not know", () => {
    const config = load(String.raw`
model_list:
  - model_name: "fireworks_ai/*"
    litellm_params:
      model: "fireworks_ai/*"
      configurable_clientside_auth_params: [{"api_base": "^https://litellm.*direct\.fireworks\.ai/v1$"}]
`)
    expect(config.warnings).toEqual([expect.stringContaining('escape'), expect.stringContaining('escape')])
    const given = { model: 'fireworks_ai/x', api_key: 'k' }
    const good = { ...given, api_base: 'https://litellm-dev.direct.fireworks.ai/v1' }
    expect(planOf(good, config).bundles).toMatchObject([
      { api_base: 'https://litellm-dev.direct.fireworks.ai/v1' },
    ])
    const bad = { ...given, api_base: 'https://litellm.evil.com/x.direct.fireworks.ai/v1' }
    expect(refusalFor(bad, config).param).toBe('api_base')
    expect(refusalFor({ model: 'fireworks_ai/x' }, config).param).toBe('api_key')
  })

  test('os.environ/NAME is replaced where it is read, and only there', () => {
    const text = `
${oneModel('api_key: os.environ/KEY\napi_base: os.environ/BASE')}
general_settings: { master_key: os.environ/MASTER }
litellm_settings: { success_callback: [langfuse], num_retries: 4, some_key: os.environ/NOT_SET }
`
    const config = load(text, { KEY: 'sk-env', BASE: 'http://10.0.0.5:8000/v1/', MASTER: 'sk-master-1' })
    expect(config.deployments[0]?.bundle).toMatchObject({
      api_key: 'sk-env',
      api_base: 'http://10.0.0.5:8000/v1',
      trusted_base: true,
    })
    expect(config.generalSettings.masterKey).toBe('sk-master-1')
    expect(config.router.numRetries).toBe(4)
    expect(config.warnings).toHaveLength(2)
  })

  test("an operator's base keeps its query", () => {
    const config = load(
      oneModel('api_key: k\napi_base: https://me.example/x/?api-version=1').replace('gpt-4o', 'azure/y'),
    )
    expect(config.deployments[0]?.bundle.api_base).toBe('https://me.example/x?api-version=1')
  })

  test("a missing key comes from the provider's usual variable, but not for a base of the file's own", () => {
    const environment = { OPENAI_API_KEY: 'sk-env' }
    expect(load(oneModel('rpm: 1'), environment).deployments[0]?.bundle.api_key).toBe('sk-env')
    const other = load(oneModel('api_base: http://localhost:8000'), environment)
    expect(other.deployments[0]?.bundle.api_key).toBeNull()
    expect(other.warnings).toEqual([expect.stringContaining('no api_key')])
  })

  test('router_settings win over litellm_settings', () => {
    const config = load(
      'litellm_settings: {num_retries: 1, request_timeout: 9}\nrouter_settings: {num_retries: 3}',
    )
    expect(config.router).toMatchObject({ numRetries: 3, timeoutS: 9 })
  })

  test('ids are the same in two processes, and hold no key', () => {
    const [one, other] = [1, 2].map(() => [...operatorBundles(load(oneModel('api_key: sk-1')), ids).keys()])
    expect(one).toEqual(other)
    expect(one?.join()).not.toContain('sk-1')
  })

  test('what is unknown is a warning; unknown keys of a deployment go to its provider', () => {
    const config = load(`
${oneModel('api_key: k\ntop_q: 3\ninput_cost_per_token: 0.1\nmy_cost_per_page: 1')}
router_settings: { redis_host: somewhere }
unheard_of: 1
`)
    expect(config.deployments[0]?.bundle.params).toEqual({ top_q: 3 })
    expect(config.deployments[0]?.own.prices).toEqual({ input: 0.1 })
    const named = ['top_q', 'my_cost_per_page', 'redis_host', 'unheard_of']
    for (const name of named) expect(config.warnings.join('\n')).toContain(name)
  })

  test("what steers LiteLLM itself is a warning and never goes to a deployment's provider", () => {
    const config = load(`
${oneModel('api_key: k\nlangfuse_public_key: x\nuse_in_pass_through: true\nauto_router_config: {a: 1}')}
router_settings: { default_litellm_params: { rpm: 5, temperature: 0.5, stream_timeout: 4 } }
`)
    expect(config.deployments[0]?.bundle.params).toEqual({ temperature: 0.5 })
    const warnings = config.warnings.join('\n')
    const named = [
      'langfuse_public_key',
      'use_in_pass_through',
      'auto_router_config',
      'default_litellm_params.rpm',
    ]
    for (const name of named) expect(warnings).toMatch(new RegExp(`${name} has no effect`))
    expect(warnings).not.toMatch(/temperature|stream_timeout/)
  })

  test('enable_tag_filtering keeps requests to the deployments with their tags', () => {
    const config = load(`
model_list:
  - { model_name: house, litellm_params: { model: openai/paid, api_key: k, tags: [paid] } }
  - { model_name: house, litellm_params: { model: openai/free, api_key: k, tags: [free, default] } }
router_settings: { enable_tag_filtering: true }
`)
    const modelsOf = (fields: object) =>
      planOf({ model: 'house', ...fields }, config).plan.deployments.map(({ model }) => model)
    expect(modelsOf({ tags: ['paid'] })).toEqual(['paid'])
    expect(modelsOf({})).toEqual(['free'])
    expect(modelsOf({ tags: ['other'] })).toEqual(['free'])
    expect(refusalFor({ model: 'house', tags: ['!default', 'free'] }, config).code).toBe(
      'no_deployment_for_tags',
    )
  })

  test('a restriction that was waived is not sent to the provider', () => {
    const waived = 'general_settings: { ignored_settings: [tag_regex] }'
    const config = load(`${oneModel('api_key: k\ntag_regex: ["^team"]')}\n${waived}`)
    expect(config.deployments[0]?.bundle.params).toEqual({})
    expect(config.warnings).toEqual([expect.stringContaining('tag_regex has no effect')])
  })

  test('an unserved provider loads with a warning and is a clear 400', () => {
    const config = load(oneModel('api_key: k').replace('gpt-4o', 'replicate/llama'))
    expect(config.warnings).toEqual([expect.stringContaining('replicate')])
    expect(refusalFor({ model: 'house' }, config).message).toContain('replicate')
  })
})

describe('what LiteLLM would find out only at a call', () => {
  test('is a warning: a fallback to no group, a provider nobody knows', () => {
    const fallbacks = 'router_settings: {fallbacks: [{house: [hosue]}]}'
    const config = load(`${oneModel('api_key: k')}\n${fallbacks}`)
    expect(config.warnings).toEqual([expect.stringContaining('"house"')])
    expect(planOf({ model: 'house' }, config).plan.fallbacks).toEqual({ house: [] })
    const alias = load(`${oneModel('api_key: k')}\nrouter_settings: {model_group_alias: {quick: hosue}}`)
    expect(alias.warnings).toEqual([expect.stringMatching(/model_group_alias\.quick names "hosue".*"house"/)])
    const strange = load(oneModel('api_key: k').replace('gpt-4o', 'nobody/gpt'))
    expect(strange.warnings).toEqual([expect.stringContaining('"nobody/"')])
    expect(refusalFor({ model: 'house' }, strange).code).toBe('model_not_found')
  })
})

describe('a config that fails closed', () => {
  const restricting = [
    'guardrails: [{guardrail_name: x}]',
    'general_settings: {custom_auth: my.module}',
    'general_settings: {enable_jwt_auth: true}',
    'general_settings: {allowed_ips: ["10.0.0.1"]}',
    'general_settings: {allowed_routes: ["/v1"]}',
    'general_settings: {max_request_size_mb: 1}',
    'general_settings: {enforce_user_param: true}',
    'general_settings: {role_permissions: [{role: x}]}',
    'general_settings: {blocked_user_list: [x]}',
    'litellm_settings: {max_budget: 10}',
    'litellm_settings: {guardrails: [x]}',
    'litellm_settings: {callbacks: [llamaguard_moderations]}',
    'litellm_settings: {callbacks: ["my_module.handler"]}',
    'litellm_settings: {banned_keywords_list: [x]}',
    'litellm_settings: {upperbound_key_generate_params: {a: 1}}',
    'router_settings: {provider_budget_config: {openai: {}}}',
    'router_settings: {optional_pre_call_checks: [router_budget_limiting]}',
    'litellm_settings: {post_call_rules: my_rules.check}',
    'litellm_settings: {pre_call_rules: my_rules.check}',
    'litellm_settings: {default_internal_user_params: {max_budget: 1}}',
    'model_list: [{model_name: house, litellm_params: {model: gpt-4o, tag_regex: ["^team"]}}]',
    'litellm_settings: {key_generation_settings: {personal_key_generation: {x: [y]}}}',
    'litellm_settings: {default_team_settings: [{team_id: x}]}',
    'general_settings: {disable_llm_api_endpoints: true}',
    'general_settings: {default_team_disabled: true}',
    'general_settings: {service_account_settings: {x: [y]}}',
    'policies: {p: {x: y}}',
    'include: [other.yaml]',
    oneModel('max_budget: 3'),
    oneModel('default_api_key_rpm_limit: 3'),
    oneModel('guardrails: [x]'),
    oneModel('model_info: {team_id: x}'),
    `${oneModel('api_key: k')}    model_info: {team_id: x}`,
    `${oneModel('api_key: k')}    model_info: {blocked: true}`,
  ]
  test.each(restricting)('a restriction that is not implemented stops the start: %s', (text) => {
    const message = refusalOf(text)
    expect(message).toContain('ignored_settings')
    const name = message.split('\n')[1]?.trim() ?? ''
    expect(name).not.toBe('')
    const ignored = `\n  ignored_settings: ["${name}"]`
    const withIgnored = text.includes('general_settings: {')
      ? text.replace('general_settings: {', `general_settings: {ignored_settings: ["${name}"], `)
      : `${text}\ngeneral_settings:${ignored}`
    expect(() => load(withIgnored)).not.toThrow()
  })

  test('inert values restrict nothing', () => {
    expect(
      load('general_settings: {custom_auth: null, enable_jwt_auth: false, allowed_ips: []}').warnings,
    ).toEqual([])
    expect(load('litellm_settings: {callbacks: [prometheus]}').warnings).toHaveLength(1)
  })

  test.each([
    'general_settings: {database_connection_pool_limit: 10}',
    'general_settings: {disable_reset_budget: true}',
    'general_settings: {disable_retry_on_max_parallel_request_limit_error: true}',
    'litellm_settings: {default_internal_user_params: {user_email: x, max_budget: null}}',
  ])('what only sounds like a restriction is a warning: %s', (text) => {
    expect(load(text).warnings).toHaveLength(1)
  })

  const broken: [string, string, string][] = [
    ['a missing variable', oneModel('api_key: os.environ/NOT_SET'), 'NOT_SET'],
    ['a duplicate key', 'router_settings: {num_retries: 1, num_retries: 2}', 'duplicate key at line 1'],
    ['no YAML', 'model_list: [', 'config.yaml'],
    ['a list', '- a', 'mapping'],
    ['a model_list that is none', 'model_list: x', 'model_list'],
    ['an entry without a model', 'model_list: [{model_name: x}]', 'model_list[0].litellm_params.model'],
    ['a wrong value', 'router_settings: {num_retries: many}', 'router_settings.num_retries'],
    ['a short master key', 'general_settings: {master_key: short}', 'general_settings.master_key'],
    ['a base that is no URL', oneModel('api_base: nowhere'), 'api_base'],
    ['azure without a base', oneModel('api_key: k').replace('gpt-4o', 'azure/x'), 'api_base'],
    [
      'a bad pattern',
      oneModel('configurable_clientside_auth_params: [{api_base: "https://(?=x)"}]'),
      'api_base',
    ],
    ['an alias bomb', `a: &a [x, x]\n${bomb()}`, 'config.yaml'],
  ]
  test.each(broken)('%s stops the start and names its place', (_what, text, named) => {
    expect(refusalOf(text)).toContain(named)
  })

  test('a file that is not there stops the start', () => {
    expect(() => loadOperatorConfig(join(folder, 'none.yaml'), {})).toThrow(ConfigError)
  })

  const leaking = [
    'api_key: "sk secret"',
    'api_key: "sk-secret',
    'api_key: sk-secret: x',
    'api_key: *sk-secret',
    'api_key: sk-secret\napi_key: sk-secret',
    'api_key: @sk-secret',
    'api_key: {sk-secret',
    'api_key: "a" sk-secret',
    '- sk-secret',
    '\tapi_key: sk-secret',
  ]
  test.each(leaking)('no error repeats a secret: %j', (params) => {
    const message = refusalOf(oneModel(params))
    expect(message).toContain('config.yaml')
    expect(message).not.toMatch(/sk.secret/)
  })

  test('an error of the form names line and column', () => {
    expect(refusalOf('model_list:\n  - model_name: "x')).toMatch(/line 2, column \d+/)
  })
})

function bomb(): string {
  const names = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h']
  return names
    .slice(1)
    .map((name, index) => `${name}: &${name} [${Array(9).fill(`*${names[index]}`).join(', ')}]`)
    .join('\n')
}
