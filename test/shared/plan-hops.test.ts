import { describe, expect, test } from 'vitest'
import { OPERATOR, bundleOf } from '../../shared/settings/deployments.ts'
import { operatorBundles } from '../../shared/settings/operator-config.ts'
import { configWith, ids, operatorOf, planOf, refusalFor } from './plan-support.ts'

const messages = [{ role: 'user', content: 'shorter' }]
const NAME = '\u001ffallbacks[0]'

function groupOf(made: ReturnType<typeof planOf>, group: string) {
  return made.plan.deployments.flatMap((deployment, index) =>
    deployment.group === group ? [{ deployment, bundle: made.bundles?.[index] }] : [],
  )
}

describe('a fallback that is an object, in a user_config', () => {
  const user_config = {
    model_list: [
      {
        model_name: 'a',
        litellm_params: { model: 'openai/one', api_key: 'sk-a', organization: 'org-a', temperature: 1 },
      },
      {
        model_name: 'b',
        litellm_params: {
          model: 'groq/two',
          api_key: 'sk-b',
          extra_headers: { 'x-team': 'blue' },
          top_p: 0.5,
          timeout: 30,
        },
      },
      { model_name: 'b', litellm_params: { model: 'mistral/three', api_key: 'sk-m' } },
    ],
    fallbacks: [{ b: ['a'] }],
  }
  const asked = { model: 'a', user_config }

  test('is a group of its own: its fields win for its calls alone, and its name is shown as the model it gives', () => {
    const made = planOf({ ...asked, fallbacks: [{ model: 'b', messages, temperature: 0 }] })
    expect(made.plan).toMatchObject({
      fallbacks: { a: [NAME], [NAME]: ['a'] },
      group_names: { [NAME]: 'b' },
      rewriting_groups: [NAME],
    })
    const hop = groupOf(made, NAME)
    expect(hop.map(({ bundle }) => [bundle?.api_key, bundle?.overrides])).toEqual([
      ['sk-b', { messages, temperature: 0 }],
      ['sk-m', { messages, temperature: 0 }],
    ])
    expect(groupOf(made, 'a')[0]?.bundle).not.toHaveProperty('overrides')
    expect(made.body['messages']).not.toEqual(messages)
  })

  test('shares limits and pauses with the deployments it copies', () => {
    const both = planOf({ ...asked, model: 'b', fallbacks: [{ model: 'b', messages }] })
    const idsOf = (group: string) =>
      groupOf(both, group).map(({ deployment: { id, key_id } }) => [id, key_id])
    expect(idsOf(NAME)).toEqual(idsOf('b'))
  })

  test('without fields of its own it rewrites nothing', () => {
    const { plan, bundles } = planOf({ ...asked, fallbacks: [{ model: 'b' }] })
    expect(plan).not.toHaveProperty('rewriting_groups')
    expect(JSON.stringify(bundles)).not.toContain('overrides')
  })

  test('its timeout is for its deployments, and is capped', () => {
    const made = planOf({ ...asked, timeout: 5, fallbacks: [{ model: 'b', timeout: 9000 }] })
    expect(made.plan.timeout_s).toBe(5)
    expect(groupOf(made, NAME)[0]?.deployment).toMatchObject({ timeout_s: 600, stream_timeout_s: 600 })
    expect(groupOf(made, 'a')[0]?.deployment.timeout_s).toBeNull()
    expect(made.warnings.join()).toContain('fallbacks[0].timeout')
  })

  test('its key is used where the group is, at the first provider alone, and nothing secret of the group is left', () => {
    const made = planOf({ ...asked, fallbacks: [{ model: 'b', api_key: 'sk-hop' }] })
    expect(groupOf(made, NAME).map(({ bundle }) => bundle)).toMatchObject([
      {
        provider: 'groq',
        model: 'two',
        api_base: 'https://api.groq.com/openai/v1',
        api_key: 'sk-hop',
        trusted_base: false,
        headers: { 'x-team': 'blue' },
        params: { top_p: 0.5 },
      },
    ])
    const org = planOf({ ...asked, model: 'b', fallbacks: [{ model: 'a', api_key: 'sk-hop' }] })
    expect(groupOf(org, NAME)[0]?.bundle).toMatchObject({ api_key: 'sk-hop', organization: null })
  })

  test('its base goes with its key only: nothing of the group is shown there', () => {
    const given = { model: 'b', api_key: 'sk-hop', api_base: 'https://mine.example/v1' }
    const made = planOf({ ...asked, fallbacks: [given] })
    for (const { bundle } of groupOf(made, NAME)) {
      expect(bundle).toMatchObject({ api_base: given.api_base, api_key: 'sk-hop', headers: {}, params: {} })
      expect(JSON.stringify(bundle)).not.toMatch(/sk-[abm]|x-team|org-a/)
    }
    for (const base of ['api_base', 'base_url']) {
      const error = refusalFor({ ...asked, fallbacks: [{ model: 'b', [base]: 'https://mine.example/v1' }] })
      expect([error.param, error.message.startsWith(`\`fallbacks[0].${base}\``)]).toEqual([
        `fallbacks[0].${base}`,
        true,
      ])
    }
  })

  test('a model that is no group of the config is called by what the object says alone', () => {
    const operator = operatorOf({
      model_list: [
        { model_name: 'gpt-4o', litellm_params: { model: 'openai/gpt-4o', api_key: 'sk-operator' } },
      ],
    })
    const fallbacks = [{ model: 'gpt-4o', api_key: 'sk-hop', organization: 'org-hop' }]
    const made = planOf({ ...asked, fallbacks }, operator)
    expect(groupOf(made, NAME)).toMatchObject([
      { bundle: { provider: 'openai', model: 'gpt-4o', api_key: 'sk-hop', organization: 'org-hop' } },
    ])
    expect(groupOf(made, NAME)[0]?.deployment).not.toHaveProperty('operator_id')
    expect(JSON.stringify(made)).not.toContain('sk-operator')
    expect(refusalFor({ ...asked, fallbacks: [{ model: 'groq/x' }] }, operator).param).toBe(
      'fallbacks[0].model',
    )
    expect(refusalFor({ ...asked, fallbacks: [{ model: 'gpt-4o' }] }, operator).code).toBe('model_not_found')
  })

  test('one that is made of credentials has no fallbacks of its own, and ends no other', () => {
    const config = { ...user_config, default_fallbacks: ['b'] }
    const fallbacks = [
      { model: 'xai/grok', api_key: 'sk-hop' },
      { model: 'b', messages },
    ]
    const { plan } = planOf({ model: 'a', user_config: config, fallbacks })
    expect(plan.fallbacks[NAME]).toEqual([])
    expect(plan.fallbacks['a']).toEqual([NAME, '\u001ffallbacks[1]'])
  })

  test('a canned answer of the request is its too, and its own is its alone', () => {
    const fallbacks = [
      { model: 'b' },
      { model: 'a', mock_response: 'hop' },
      { model: 'x', mock_response: 'x', api_key: 'k' },
    ]
    const made = planOf({ ...asked, mock_response: 'all', fallbacks })
    expect(made.bundles?.map(({ mock_response: mock }) => mock)).toEqual(['all', 'all', 'all', 'hop', 'x'])
    const own = planOf({ ...asked, fallbacks: [{ model: 'a', mock_response: 'hop' }] })
    expect(own.bundles?.map(({ mock_response: mock }) => mock)).toEqual([undefined, 'hop'])
  })

  const refused: [Record<string, unknown>, string][] = [
    [{ fallbacks: ['b'] }, 'fallbacks'],
    [{ context_window_fallbacks: [{ a: ['b'] }] }, 'context_window_fallbacks'],
    [{ user_config: configWith({}) }, 'user_config'],
    [{ num_retries: 3 }, 'num_retries'],
    [{ tags: ['x'] }, 'tags'],
    [{ mock_testing_fallbacks: true }, 'mock_testing_fallbacks'],
    [{ stream: true }, 'stream'],
    [{ timeout: 0 }, 'timeout'],
    [{ user_configs: 'x' }, 'user_configs'],
    [{ api_key: '' }, 'api_key'],
    [{ api_key: 'k', aws_secret_access_key: 'x' }, 'aws_secret_access_key'],
    [{ api_key: 'k', api_base: 'http://127.0.0.1' }, 'api_base'],
    [{ extra_headers: { 'x-a': 'b' } }, 'extra_headers'],
    [{ extra_body: { api_key: 'k' } }, 'extra_body.api_key'],
    [{ success_callback: ['x'] }, 'success_callback'],
  ]
  test.each(refused)('%j is refused in it', (fields, param) => {
    const error = refusalFor({ ...asked, fallbacks: [{ model: 'b' }, { model: 'b', ...fields }] })
    expect([error.status, error.param]).toEqual([400, `fallbacks[1].${param}`])
    expect(error.message).toContain(`\`fallbacks[1].${param}\``)
  })

  test('the whole request may stand in it: what is the same or asks for nothing changes nothing', () => {
    const fallbacks = [
      { model: 'b', stream: true, num_retries: null, disable_fallbacks: false, metadata: { a: 1 } },
    ]
    const { bundles } = planOf({ ...asked, stream: true, fallbacks })
    expect(bundles?.[1]?.overrides).toEqual({ metadata: { a: 1 } })
  })
})

describe("a fallback that is an object, beside the operator's models", () => {
  const secret = 'sk-operator'
  const operator = operatorOf({
    model_list: [
      {
        model_name: 'house',
        litellm_params: { model: 'openai/one', api_key: secret, extra_headers: { 'x-house': secret } },
      },
      {
        model_name: 'open',
        litellm_params: {
          model: 'groq/two',
          api_key: secret,
          top_p: 0.5,
          configurable_clientside_auth_params: ['api_key', 'api_base', 'organization'],
        },
      },
      {
        model_name: 'keyless',
        litellm_params: { model: 'openai/x', configurable_clientside_auth_params: ['api_key'] },
      },
    ],
    router_settings: { default_fallbacks: ['house'] },
  })
  const asked = { model: 'house' }

  test("its fields go with the job and the operator's secrets do not", () => {
    const made = planOf({ ...asked, fallbacks: [{ model: 'open', messages }] }, operator)
    expect(made.bundles).toHaveLength(2)
    expect(JSON.stringify([made.plan, made.bundles])).not.toContain(secret)
    const [hop] = groupOf(made, NAME)
    if (!hop) throw new Error('no hop')
    expect(bundleOf(hop.deployment, hop.bundle, operatorBundles(operator, ids))).toMatchObject({
      api_key: secret,
      model: 'two',
      params: { top_p: 0.5 },
      overrides: { messages },
    })
    const [house] = groupOf(made, 'house')
    if (!house) throw new Error('no start')
    const full = bundleOf(house.deployment, house.bundle, operatorBundles(operator, ids))
    expect(full).toMatchObject({ api_key: secret, headers: { 'x-house': secret } })
    expect(full).not.toHaveProperty('overrides')
  })

  test('without an object nothing goes with the job', () => {
    expect(planOf({ ...asked, fallbacks: ['open'] }, operator).bundles).toBeNull()
  })

  test('a group that nobody can call is in no table', () => {
    const { plan } = planOf({ ...asked, fallbacks: ['keyless', 'open'] }, operator)
    expect(plan.fallbacks).toMatchObject({ house: ['open'] })
  })

  test("one with a key is the client's own: another owner, and no way on to the operator's fallbacks", () => {
    const fallbacks = [{ model: 'xai/grok', api_key: 'sk-hop', extra_headers: { 'x-a': 'b' } }]
    const made = planOf({ ...asked, fallbacks }, operator)
    const [hop] = groupOf(made, NAME)
    expect(hop?.bundle).toMatchObject({ api_key: 'sk-hop', headers: { 'x-a': 'b' }, trusted_base: false })
    expect(hop?.deployment).not.toHaveProperty('operator_id')
    expect([made.plan.owner_id, hop?.deployment.owner_id]).toEqual([OPERATOR, expect.any(String)])
    expect(hop?.deployment.owner_id).not.toBe(OPERATOR)
    expect(made.plan.fallbacks[NAME]).toEqual([])
  })

  test('on a group of the operator it needs the opt-in, as a request would', () => {
    const opened = planOf({ ...asked, fallbacks: [{ model: 'open', api_key: 'sk-hop' }] }, operator)
    expect(groupOf(opened, NAME)[0]?.bundle).toMatchObject({
      provider: 'groq',
      api_key: 'sk-hop',
      trusted_base: true,
    })
    const closed: [Record<string, unknown>, string][] = [
      [{ model: 'house', api_key: 'sk-hop' }, 'api_key'],
      [{ model: 'house', api_key: 'sk-hop', api_base: 'https://mine.example' }, 'api_key'],
      [{ model: 'open', api_base: 'https://mine.example' }, 'api_base'],
      [{ model: 'open', api_key: 'sk-hop', api_version: 'v1' }, 'api_version'],
      [{ model: 'open', extra_headers: { 'x-a': 'b' } }, 'extra_headers'],
      [{ model: 'open', mock_response: 'x' }, 'mock_response'],
      [{ model: 'keyless' }, 'api_key'],
      [{ model: 'nobody' }, 'model'],
    ]
    for (const [object, param] of closed) {
      const error = refusalFor({ ...asked, fallbacks: [object] }, operator)
      expect([object, error.param]).toEqual([object, `fallbacks[0].${param}`])
    }
  })

  test('one with a base has nothing of the deployment it names, even where that base is the same', () => {
    for (const api_base of ['https://mine.example/v1', 'https://api.groq.com/openai/v1']) {
      const made = planOf({ ...asked, fallbacks: [{ model: 'open', api_key: 'sk-hop', api_base }] }, operator)
      expect(groupOf(made, NAME)).toMatchObject([
        { bundle: { api_base, api_key: 'sk-hop', trusted_base: false, params: {}, headers: {} } },
      ])
      expect(groupOf(made, NAME)[0]?.deployment).not.toHaveProperty('operator_id')
    }
  })

  const late = (object: Record<string, unknown>) =>
    planOf({ ...asked, fallbacks: [object] }, operator).plan.is_timeout_clients

  test("a timeout on the operator's deployments is the client's own doing", () => {
    expect(late({ model: 'open', timeout: 0.001 })).toBe(true)
    expect(late({ model: 'open', stream_timeout: 0.001 })).toBe(true)
    expect(late({ model: 'open', messages })).toBeUndefined()
    expect(late({ model: 'xai/grok', api_key: 'k', timeout: 0.001 })).toBeUndefined()
  })

  test('credentials are refused where the gateway takes none', () => {
    const shut = operatorOf({
      model_list: [{ model_name: 'house', litellm_params: { model: 'openai/one', api_key: secret } }],
      general_settings: { allow_client_side_credentials: false },
    })
    const error = refusalFor({ ...asked, fallbacks: [{ model: 'xai/grok', api_key: 'k' }] }, shut)
    expect([error.code, error.param]).toEqual(['client_credentials_disabled', 'fallbacks[0].api_key'])
  })
})

describe("a fallback that is an object, beside a request's own key", () => {
  const own = { model: 'gpt-4o', api_key: 'sk-own' }

  test('has that key for the same provider, and needs its own for another', () => {
    const fallbacks = [
      { model: 'gpt-4.1', messages },
      { model: 'groq/x', api_key: 'sk-hop' },
    ]
    const { plan, bundles } = planOf({ ...own, fallbacks })
    expect(bundles?.map(({ provider, api_key: key, overrides }) => [provider, key, overrides])).toEqual([
      ['openai', 'sk-own', undefined],
      ['openai', 'sk-own', { messages }],
      ['groq', 'sk-hop', undefined],
    ])
    expect(plan.fallbacks['gpt-4o']).toHaveLength(2)
    expect(refusalFor({ ...own, fallbacks: [{ model: 'groq/x' }] }).param).toBe('fallbacks[0].model')
    const base = { model: 'gpt-4.1', api_base: 'https://mine.example' }
    expect(refusalFor({ ...own, fallbacks: [base] }).param).toBe('fallbacks[0].api_base')
  })

  test("beside the operator's key only the model that was asked for can be given again", () => {
    const entry = {
      model: 'openai/m',
      api_key: 'sk-operator',
      configurable_clientside_auth_params: ['organization'],
    }
    const operator = operatorOf({
      model_list: ['open', 'other'].map((model_name) => ({ model_name, litellm_params: entry })),
    })
    const hop = [{ model: 'open', organization: 'org-mine' }]
    expect(refusalFor({ ...own, fallbacks: hop }, operator).param).toBe('fallbacks[0].api_key')
    const asked = { model: 'open', organization: 'org-mine' }
    const made = planOf({ ...asked, fallbacks: [{ model: 'open', messages }] }, operator)
    expect(made.bundles?.[1]).toMatchObject({
      api_key: null,
      organization: 'org-mine',
      overrides: { messages },
    })
    expect(refusalFor({ ...asked, fallbacks: [{ model: 'other' }] }, operator).param).toBe(
      'fallbacks[0].model',
    )
    const mock = [{ model: 'open', mock_response: 'x' }]
    expect(refusalFor({ ...asked, fallbacks: mock }, operator).param).toBe('fallbacks[0].mock_response')
  })
})
