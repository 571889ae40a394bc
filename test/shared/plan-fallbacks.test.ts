import { describe, expect, test } from 'vitest'
import { operatorOf, planOf, refusalFor } from './plan-support.ts'

const KEY = 'sk-own'

/** A config of groups, each with one OpenAI deployment and a key of its own. */
function configOf(groups: string[], router: Record<string, unknown> = {}) {
  const model_list = groups.map((name) => ({
    model_name: name,
    litellm_params: { model: `openai/${name.replaceAll('/', '-')}`, api_key: `sk-${name}` },
  }))
  return { model_list, ...router }
}

function planned(model: string, router: Record<string, unknown>, request: Record<string, unknown> = {}) {
  const user_config = configOf(['a', 'b', 'c', 'd', 'vendor/e'], router)
  return planOf({ model, user_config, ...request }).plan
}

function objects(count: number) {
  return Array.from({ length: count }, () => ({ model: 'b', temperature: 0 }))
}

function groupsOf(plan: { deployments: { group: string }[] }) {
  return plan.deployments.map(({ group }) => group)
}

describe('tables of a config', () => {
  test('those for long prompts and refused content are in the plan only when somebody sets them', () => {
    const none = planned('a', { context_window_fallbacks: [], fallbacks: [{ a: ['b'] }] })
    expect(none).not.toHaveProperty('context_window_fallbacks')
    expect(none).not.toHaveProperty('content_policy_fallbacks')
    const set = planned('a', { context_window_fallbacks: [{ b: ['c'] }] })
    expect(set.context_window_fallbacks).toEqual({})
    const emptied = planned('a', {}, { content_policy_fallbacks: [] })
    expect(emptied).toMatchObject({ content_policy_fallbacks: {} })
    expect(emptied).not.toHaveProperty('context_window_fallbacks')
  })

  test('groups are reached through all three tables, each with its own deployments once', () => {
    const plan = planned('a', {
      fallbacks: [{ a: ['b'] }],
      context_window_fallbacks: [{ b: ['c'] }],
      content_policy_fallbacks: [{ c: ['a', 'd'] }],
    })
    expect(groupsOf(plan)).toEqual(['a', 'b', 'c', 'd'])
    expect(plan).toMatchObject({
      fallbacks: { a: ['b'] },
      context_window_fallbacks: { b: ['c'] },
      content_policy_fallbacks: { c: ['a', 'd'] },
    })
  })

  test('a key without its provider stands for any failure, not for long prompts or refused content', () => {
    const plan = planned('vendor/e', {
      fallbacks: [{ e: ['a'] }],
      context_window_fallbacks: [{ e: ['b'] }, { '*': ['c'] }],
      content_policy_fallbacks: [{ 'vendor/e': ['d'] }],
    })
    expect(plan).toMatchObject({
      fallbacks: { 'vendor/e': ['a'] },
      context_window_fallbacks: { '*': ['c'] },
      content_policy_fallbacks: { 'vendor/e': ['d'] },
    })
    expect(groupsOf(plan)).not.toContain('b')
  })

  test('they may stand under the alias that was asked for', () => {
    const router = { model_group_alias: { short: 'a' }, context_window_fallbacks: [{ short: ['b'] }] }
    expect(planned('short', router).context_window_fallbacks).toEqual({ a: ['b'] })
    expect(planned('a', router).context_window_fallbacks).toEqual({})
  })

  test.each(['context_window_fallbacks', 'content_policy_fallbacks'])(
    'a group that is none is refused in %s',
    (table) => {
      const user_config = configOf(['a', 'b'], { [table]: [{ a: ['nobody'] }] })
      expect(refusalFor({ model: 'a', user_config }).param).toBe(`user_config.${table}[0].a`)
      const given = { model: 'a', user_config: configOf(['a', 'b']), [table]: [{ nobody: ['a'] }] }
      expect(refusalFor(given).param).toBe(`${table}[0].nobody`)
    },
  )
})

describe('lists of a request', () => {
  const router = { fallbacks: [{ a: ['d'] }, { b: ['c'] }], context_window_fallbacks: [{ a: ['d'] }] }

  test('a list of names is for the group that was asked for; the hops keep what the config says', () => {
    const plan = planned('a', router, { fallbacks: ['b'] })
    expect(plan.fallbacks).toEqual({ a: ['b'], b: ['c'] })
    expect(groupsOf(plan)).toEqual(['a', 'b', 'c'])
  })

  test('it is for long prompts as well, unless the request has a list for those', () => {
    expect(planned('a', router, { fallbacks: ['b'] }).context_window_fallbacks).toEqual({ a: ['b'] })
    const apart = planned('a', router, { fallbacks: ['b'], context_window_fallbacks: ['c'] })
    expect(apart).toMatchObject({
      fallbacks: { a: ['b'], b: ['c'] },
      context_window_fallbacks: { a: ['c'] },
    })
  })

  test('a list of names for long prompts leaves those for other failures alone', () => {
    const plan = planned('a', router, {
      context_window_fallbacks: ['b'],
      content_policy_fallbacks: ['vendor/e'],
    })
    expect(plan).toMatchObject({
      fallbacks: { a: ['d'], b: ['c'] },
      context_window_fallbacks: { a: ['b'] },
      content_policy_fallbacks: { a: ['vendor/e'] },
    })
  })

  test('maps stand instead of those of the config', () => {
    const maps = { fallbacks: [{ '*': ['c'] }], context_window_fallbacks: [{ c: ['b'] }] }
    expect(planned('a', router, maps)).toMatchObject({
      fallbacks: { '*': ['c'] },
      context_window_fallbacks: { c: ['b'] },
    })
    expect(planned('a', router, { fallbacks: [] }).fallbacks).toEqual({})
  })

  test('disable_fallbacks empties all tables, objects and names of the request included', () => {
    const given = { fallbacks: [{ model: 'b', temperature: 0 }], content_policy_fallbacks: ['c'] }
    const plan = planned('a', router, { disable_fallbacks: true, ...given })
    expect(plan).toMatchObject({
      fallbacks: {},
      context_window_fallbacks: {},
      content_policy_fallbacks: {},
    })
    expect(groupsOf(plan)).toEqual(['a'])
  })

  const wrong: [unknown, string, string][] = [
    [['b', { c: ['d'] }], 'fallbacks', 'mixes'],
    [['b', { model: 'c' }], 'fallbacks', 'mixes'],
    [[{ model: 'b' }, { c: ['d'] }], 'fallbacks', 'mixes'],
    ['b', 'fallbacks', 'list'],
    [['b', 'nobody'], 'fallbacks[1]', 'nobody'],
    [['b', ''], 'fallbacks[1]', 'empty'],
    [[{ temperature: 1 }], 'fallbacks[0].model', 'needed'],
    [[{ c: 'd' }], 'fallbacks[0].model', 'needed'],
    [[{ model: 'b' }, { model: 7 }], 'fallbacks[1].model', 'needed'],
    [[{ model: 'nobody' }], 'fallbacks[0].model', 'model_name'],
    [[{ a: ['b'], b: ['c'] }], 'fallbacks[0]', 'exactly one'],
    [[{ model: 'b', api_key: 'os.environ/KEY' }], 'fallbacks[0].api_key', 'secret of the server'],
  ]
  test.each(wrong)('%j is refused', (fallbacks, param, text) => {
    const error = refusalFor({ model: 'a', user_config: configOf(['a', 'b', 'c', 'd']), fallbacks })
    expect([error.status, error.param]).toEqual([400, param])
    expect(error.message).toContain(text)
  })

  test('at most 20 objects, over all lists', () => {
    const given = { fallbacks: objects(10), context_window_fallbacks: objects(10) }
    expect(groupsOf(planned('a', {}, given))).toHaveLength(21)
    const error = refusalFor({
      model: 'a',
      user_config: configOf(['a', 'b']),
      ...given,
      content_policy_fallbacks: objects(1),
    })
    expect(error.param).toBe('content_policy_fallbacks[0]')
  })

  test('objects count among the deployments of the plan', () => {
    const user_config = configOf([...Array(30).fill('a'), ...Array(30).fill('b')])
    const fallbacks = Array.from({ length: 3 }, () => ({ model: 'b', temperature: 0 }))
    expect(refusalFor({ model: 'a', user_config, fallbacks }).param).toBe('fallbacks')
  })
})

describe("names beside a request's own key", () => {
  const operator = operatorOf({
    model_list: [
      { model_name: 'house', litellm_params: { model: 'openai/gpt-house', api_key: 'sk-operator' } },
    ],
    router_settings: { default_fallbacks: ['house'], context_window_fallbacks: [{ '*': ['house'] }] },
  })
  const own = { model: 'gpt-4o', api_key: KEY }

  test('another model of the same provider is called with the same key, at the same base', () => {
    const extra_headers = { 'x-team': 'blue' }
    const fallbacks = ['gpt-4o-mini', 'openai/gpt-4.1']
    const { plan, bundles } = planOf({ ...own, extra_headers, fallbacks }, operator)
    expect(plan.fallbacks).toEqual({ 'gpt-4o': fallbacks })
    expect(bundles).toMatchObject(
      ['gpt-4o', 'gpt-4o-mini', 'gpt-4.1'].map((model) => ({
        model,
        api_key: KEY,
        api_base: 'https://api.openai.com/v1',
        headers: extra_headers,
      })),
    )
    expect(plan.deployments.every(({ owner_id }) => owner_id === undefined)).toBe(true)
    const azure = { api_key: KEY, api_base: 'https://me.openai.azure.com', api_version: '2024-10-21' }
    const made = planOf({ model: 'one', ...azure, context_window_fallbacks: ['two'] })
    expect(made.plan.context_window_fallbacks).toEqual({ one: ['two'] })
    expect(made.bundles).toMatchObject(
      ['one', 'two'].map((model) => ({ ...azure, model, provider: 'azure' })),
    )
  })

  test('the map form leads on from hop to hop', () => {
    const fallbacks = [{ 'gpt-4o': ['gpt-4o-mini'] }, { 'gpt-4o-mini': ['gpt-4.1'] }, { '*': ['gpt-4'] }]
    const { plan } = planOf({ ...own, fallbacks }, operator)
    expect(plan.fallbacks).toEqual({ 'gpt-4o': ['gpt-4o-mini'], 'gpt-4o-mini': ['gpt-4.1'], '*': ['gpt-4'] })
  })

  test.each([
    ['groq/llama', 'api_key'],
    ['house', 'operator'],
    ['nobody/x', 'no known provider'],
  ])('a name that the key is not for is refused: %s', (name, text) => {
    for (const [fallbacks, param] of [
      [[name], 'fallbacks[0]'],
      [[{ 'gpt-4o': ['gpt-4', name] }], 'fallbacks[0].gpt-4o'],
      [[{ [name]: ['gpt-4'] }], `fallbacks[0].${name}`],
    ] as const) {
      const error = refusalFor({ ...own, fallbacks }, operator)
      expect(error.param).toBe(param)
      expect(error.message).toContain(text)
    }
  })

  test("nothing of the operator's fallbacks is in the plan", () => {
    const { plan, bundles } = planOf({ ...own, fallbacks: ['gpt-4'] }, operator)
    expect(JSON.stringify([plan, bundles])).not.toMatch(/house|sk-operator/)
    expect(plan).not.toHaveProperty('context_window_fallbacks')
  })
})
