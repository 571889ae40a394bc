import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { BARE, firstRefused, readOptIns } from '../../shared/settings/clientside-auth.ts'
import { compileUrlPattern } from '../../shared/settings/url-pattern.ts'
import { ids, operatorOf, planOf, refusalFor, refusalIn } from './plan-support.ts'
import { OPERATOR, bundleOf } from '../../shared/settings/deployments.ts'
import { operatorBundles } from '../../shared/settings/operator-config.ts'

const SEED_PATTERN = String.raw`^https://litellm.*direct\.fireworks\.ai/v1$`
const OPERATOR_KEY = 'sk-operator-secret'

/** An operator with one fireworks wildcard group that opts in to some parameters. */
function fireworks(optIns: unknown, params: Record<string, unknown> = {}) {
  return operatorOf({
    model_list: [
      {
        model_name: 'fireworks_ai/*',
        litellm_params: {
          model: 'fireworks_ai/*',
          api_key: OPERATOR_KEY,
          extra_headers: { 'x-operator': 'header-secret' },
          organization: 'org-operator',
          configurable_clientside_auth_params: optIns,
          ...params,
        },
      },
    ],
  })
}

/** A member of the group `mixed`. */
function mixed(provider: string, optIns: unknown) {
  const params = {
    model: `${provider}/m`,
    api_key: OPERATOR_KEY,
    configurable_clientside_auth_params: optIns,
  }
  return { model_name: 'mixed', litellm_params: params }
}

const model = 'fireworks_ai/llama'
const base = 'https://litellm-dev.direct.fireworks.ai/v1'

describe('patterns for bases', () => {
  const matching: [string, string, boolean][] = [
    [SEED_PATTERN, 'https://litellm-dev.direct.fireworks.ai/v1', true],
    [SEED_PATTERN, 'https://litellmdirect.fireworks.ai/v1', true],
    [SEED_PATTERN, 'https://litellm.evil.com/x.direct.fireworks.ai/v1', false],
    [SEED_PATTERN, 'https://litellm.evil.com/direct.fireworks.ai/v1', false],
    [SEED_PATTERN, 'https://litellm.direct.fireworks.ai.evil.com/v1', false],
    [SEED_PATTERN, 'https://litellm-dev.direct.fireworks.ai/v1/more', false],
    [SEED_PATTERN, 'https://litellm-dev.direct.fireworksxai/v1', false],
    [SEED_PATTERN, 'http://litellm-dev.direct.fireworks.ai/v1', false],
    ['^https://a', 'https://a.evil.com', false],
    ['https://[^x]+/v1', 'https://a/b/v1', false],
    [String.raw`https://(a|b)\.example\.com(:8443)?/v[12]`, 'https://b.example.com:8443/v2', true],
    [String.raw`https://(a|b)\.example\.com(:8443)?/v[12]`, 'https://c.example.com/v2', false],
    [String.raw`https://[a-z\d-]{2,4}\.example\.com`, 'https://ab1.example.com', true],
    [String.raw`https://[a-z\d-]{2,4}\.example\.com`, 'https://abcde.example.com', false],
    [String.raw`https://x{3}\.com`, 'https://xxx.com', true],
    [String.raw`https://x{3}\.com`, 'https://xx.com', false],
    [String.raw`https://x{2,}\.com`, 'https://xxxxx.com', true],
    [String.raw`https://\w+\.com/(?:v1|v2)/?`, 'https://a_b.com/v2', true],
  ]
  test.each(matching)('%s on %s: %s', (pattern, url, isMatch) => {
    expect(compileUrlPattern(pattern)(url)).toBe(isMatch)
  })

  test('agree with regular expressions wherever no "/" is crossed', () => {
    const piece = fc.constantFrom(
      'a',
      'b',
      '.',
      'a*',
      'b+',
      '.?',
      '(a|bb)',
      '(?:ab)*',
      '[ab]',
      '[^a]',
      'a{2}',
      'b{1,2}',
      '.*',
    )
    const text = fc.string({ unit: fc.constantFrom('a', 'b', 'c'), maxLength: 8 })
    fc.assert(
      fc.property(fc.array(piece, { minLength: 1, maxLength: 5 }), text, (pieces, url) => {
        const pattern = pieces.join('')
        expect(compileUrlPattern(pattern)(url)).toBe(new RegExp(`^(?:${pattern})$`).test(url))
      }),
      { numRuns: 2000 },
    )
  })

  test('no pattern makes a long URL slow', () => {
    const url = `https://${'a'.repeat(2000)}`
    const before = process.threadCpuUsage()
    for (const pattern of [
      'https://(a*)*b',
      'https://(a|a)*b',
      'https://a*a*a*a*a*a*b',
      'https://(.*.*.*)*x',
    ]) {
      expect(compileUrlPattern(pattern)(url)).toBe(false)
    }
    expect(process.threadCpuUsage(before).user / 1_000).toBeLessThan(500)
  })

  test.each([
    'https://(?=a)',
    String.raw`https://(a)\1`,
    'https://(a',
    'https://a)',
    'https://[a',
    'https://a**',
    'https://a{1000}',
    'https://((a{90}){90}){90}',
    'https://((){90}){90}((){90}){90}(((){90}){90}){90}',
    String.raw`https://\bx`,
    'https://a^b',
    'litellm.*',
    `https://${'a'.repeat(600)}`,
  ])('a pattern that is not known or too large is refused: %s', (pattern) => {
    const error = refusalIn(() => readOptIns([{ api_base: pattern }], 'path'))
    expect(error.param).toBe('path[0].api_base')
  })

  test.each([['api_base'], [{ api_key: 'x' }], [{ api_base: 1 }], [7], ['']])(
    'an opt-in of another form: %j',
    (entry) => {
      if (entry === 'api_base') expect(refusalIn(() => readOptIns(entry, 'path')).param).toBe('path')
      else expect(refusalIn(() => readOptIns([entry], 'path')).param).toMatch(/^path\[0\]/)
    },
  )
})

describe("a client's parameters on an operator's model", () => {
  test('a base opted in by name takes the client to it with his own key and nothing else', () => {
    const { plan, bundles } = planOf(
      { model, api_key: 'sk-mine', api_base: 'https://mine.example/v1/' },
      fireworks(['api_base'], { temperature: 0, extra_body: { secret: 'x' } }),
    )
    expect(plan.source).toBe('client_credentials')
    expect(bundles).toEqual([
      {
        provider: 'fireworks_ai',
        model: 'accounts/fireworks/models/llama',
        api_base: 'https://mine.example/v1',
        trusted_base: false,
        api_key: 'sk-mine',
        api_version: null,
        organization: null,
        azure_ad_token: null,
        headers: {},
        params: {},
      },
    ])
  })

  test("a base opted in by pattern passes, the bypass of LiteLLM's example does not", () => {
    const operator = fireworks([{ api_base: SEED_PATTERN }])
    expect(planOf({ model, api_key: 'sk-mine', api_base: base }, operator).bundles?.[0]?.api_base).toBe(base)
    for (const api_base of [
      'https://litellm.evil.com/x.direct.fireworks.ai/v1',
      'https://litellm.evil.com/%2e/../x.direct.fireworks.ai/v1',
      String.raw`https://litellm.evil.com\x.direct.fireworks.ai/v1`,
    ]) {
      expect(refusalFor({ model, api_key: 'sk-mine', api_base }, operator).param).toBe('api_base')
    }
  })

  const refused: [unknown, Record<string, unknown>, string][] = [
    [null, { api_key: 'sk-mine' }, 'api_key'],
    [[], { api_key: 'sk-mine', api_base: base }, 'api_key'],
    [['api_key'], { api_key: 'sk-mine', api_base: base }, 'api_base'],
    [['api_key'], { api_key: 'sk-mine', base_url: base }, 'base_url'],
    [['api_base'], { api_key: 'sk-mine', api_base: base, organization: 'org-x' }, 'organization'],
    [['api_base'], { api_base: base }, 'api_base'],
    [['api_base'], { api_base: base, api_key: '' }, 'api_key'],
    [['base_url'], { base_url: base }, 'base_url'],
    [['api_key'], { organization: 'org-x' }, 'organization'],
    [['api_base'], { organization: 'org-x' }, 'organization'],
    [['api_key'], { api_version: '2024-10-21' }, 'api_version'],
    [['api_key'], { api_key: 'sk-mine', vertex_credentials: '{}' }, 'vertex_credentials'],
    [
      ['api_key', 'aws_secret_access_key'],
      { api_key: 'sk-mine', aws_secret_access_key: 'x' },
      'aws_secret_access_key',
    ],
  ]
  test.each(refused)('opt-in %j does not cover %j', (optIns, given, param) => {
    const error = refusalFor({ model, ...given }, fireworks(optIns))
    expect([error.status, error.param]).toEqual([400, param])
    expect(error.message).not.toContain(OPERATOR_KEY)
  })

  test("an opt-in for api_base covers the client's own key, at the operator's base too", () => {
    for (const optIns of [['api_base'], [{ api_base: SEED_PATTERN }], ['api_key']]) {
      const { bundles } = planOf({ model, api_key: 'sk-mine' }, fireworks(optIns, { temperature: 0 }))
      expect(bundles).toMatchObject([
        {
          api_key: 'sk-mine',
          trusted_base: true,
          organization: null,
          headers: {},
          params: { temperature: 0 },
        },
      ])
      expect(JSON.stringify(bundles)).not.toMatch(/operator/)
    }
  })

  test("an organization beside the operator's key is added by the worker: no secret of his is in the bundle", () => {
    const operator = fireworks(['organization'])
    const { plan, bundles } = planOf({ model, organization: 'org-mine' }, operator)
    expect(JSON.stringify([plan, bundles])).not.toMatch(/secret/)
    const [deployment] = plan.deployments
    if (!deployment) throw new Error('no deployment')
    expect(bundleOf(deployment, bundles?.[0], operatorBundles(operator, ids))).toMatchObject({
      api_key: OPERATOR_KEY,
      organization: 'org-mine',
      model: 'accounts/fireworks/models/llama',
    })
    expect(bundleOf(deployment, bundles?.[0], new Map())).toBeNull()
    const mocked = { model, organization: 'org-mine', mock_response: 'x' }
    expect(refusalFor(mocked, operator).param).toBe('mock_response')
  })

  test("an override beside the operator's key leaves its limits and pauses where they are", () => {
    const azure = { model: 'azure/gpt', api_key: OPERATOR_KEY, api_base: 'https://me.example' }
    const entry = { ...azure, configurable_clientside_auth_params: ['organization', 'api_version'] }
    const operator = operatorOf({ model_list: [{ model_name: 'house', litellm_params: entry }] })
    const stateOf = (given: Record<string, unknown>, config = operator, name = 'house') => {
      const { plan } = planOf({ model: name, ...given }, config)
      return [
        plan.owner_id,
        ...plan.deployments.flatMap(({ id, key_id, operator_id }) => [id, key_id, operator_id]),
      ]
    }
    const plain = stateOf({})
    expect(plain[0]).toBe(OPERATOR)
    expect(stateOf({ organization: 'org-1' })).toEqual(plain)
    expect(stateOf({ api_version: '2024-10-21' })).toEqual(plain)
    const wild = fireworks(['organization'])
    expect(stateOf({ organization: 'org-1' }, wild, model)).toEqual(stateOf({}, wild, model))
    const late = planOf({ model: 'house', organization: 'org-1', timeout: 0.001 }, operator)
    expect(late.plan).toMatchObject({ source: 'client_credentials', is_timeout_clients: true })
    expect(stateOf({ api_key: 'sk-mine' }, fireworks(['api_key']), model)[0]).not.toBe(OPERATOR)
  })

  test('a location is no credential: it goes to the provider as it came', () => {
    const { plan, body } = planOf({ model, vertex_ai_location: 'us-east1' }, fireworks(null))
    expect([plan.source, body['vertex_ai_location']]).toEqual(['operator', 'us-east1'])
  })

  test('of a group, only deployments that opt in are used, and only those of one audience', () => {
    const operator = operatorOf({
      model_list: [mixed('groq', null), mixed('mistral', ['api_key']), mixed('xai', ['api_key'])],
    })
    const { bundles } = planOf({ model: 'mixed', api_key: 'sk-mine' }, operator)
    expect(bundles?.map(({ provider }) => provider)).toEqual(['mistral'])
  })

  test("a client's credentials never meet the operator's fallbacks", () => {
    const operator = operatorOf({
      model_list: [
        {
          model_name: 'open',
          litellm_params: { model: 'groq/m', api_key: 'k', configurable_clientside_auth_params: ['api_key'] },
        },
        { model_name: 'closed', litellm_params: { model: 'mistral/m', api_key: OPERATOR_KEY } },
      ],
      router_settings: { fallbacks: [{ open: ['closed'] }], default_fallbacks: ['closed'] },
    })
    for (const name of ['open', 'gpt-4o']) {
      const { plan, bundles } = planOf({ model: name, api_key: 'sk-mine' }, operator)
      expect(plan.fallbacks).toEqual({})
      expect(bundles?.map(({ api_key }) => api_key)).toEqual(['sk-mine'])
      const error = refusalFor(
        { model: name, api_key: 'sk-mine', fallbacks: [{ [name]: ['closed'] }] },
        operator,
      )
      expect(error.param).toBe(`fallbacks[0].${name}`)
    }
  })

  test('an api_key opt-in does not let a base in, whatever its order', () => {
    const given = { ...BARE, apiKey: 'k', apiBase: base }
    expect(firstRefused(readOptIns(['api_key'], 'p'), given, ['api_key', 'api_base'])).toBe('api_base')
    expect(firstRefused(readOptIns(['api_key'], 'p'), given, ['api_base', 'api_key'])).toBe('api_base')
  })
})
