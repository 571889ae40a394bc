import { describe, expect, test } from 'vitest'
import { operatorOf, planOf, refusalFor } from './plan-support.ts'

const wildcard = { model_name: '*', litellm_params: { model: 'openai/*', api_key: 'k' } }

function names(count: number, prefix = 'name-'): string[] {
  return Array.from({ length: count }, (_, index) => `${prefix}${index}`)
}

/** As many wildcard deployments as given, with settings beside them. */
function wildcards(count: number, router: Record<string, unknown>) {
  return { model_list: names(count).map(() => wildcard), ...router }
}

describe('what a small request can make of a plan', () => {
  test('a plan never holds more than 100 deployments, whatever a wildcard makes of fallback names', () => {
    const most = wildcards(5, { default_fallbacks: names(19) })
    expect(planOf({ model: 'asked', user_config: most }).plan.deployments).toHaveLength(100)
    const over = wildcards(5, { default_fallbacks: names(20) })
    expect(refusalFor({ model: 'asked', user_config: over }).param).toBe('user_config.default_fallbacks')
    const chained = wildcards(1, {
      fallbacks: names(2).map((name) => ({ [name]: names(60, `${name}-`) })),
      default_fallbacks: names(2),
    })
    expect(refusalFor({ model: 'asked', user_config: chained }).param).toMatch(/^user_config\.fallbacks\[/)
  })

  test("nor on an operator's wildcard by the fallbacks of a request", () => {
    const operator = operatorOf({ model_list: [wildcard, wildcard] })
    const fallbacks = [{ '*': names(99) }]
    expect(refusalFor({ model: 'asked', fallbacks }, operator).param).toBe('fallbacks[0].*')
    const long = names(150).map((name) => ({ ...wildcard, model_name: name }))
    const many = operatorOf({
      model_list: [...long, ...names(101).map(() => ({ ...wildcard, model_name: 'big' }))],
    })
    expect(planOf({ model: 'big', fallbacks: [{ big: ['name-1'] }] }, many).plan.deployments).toHaveLength(
      102,
    )
  })

  const long: [string, Record<string, unknown>][] = [
    ['default_fallbacks', { default_fallbacks: names(101) }],
    ['fallbacks', { fallbacks: names(101).map((name) => ({ [name]: ['x'] })) }],
    ['fallbacks', { fallbacks: names(11).map((name) => ({ [name]: names(100) })) }],
    [
      'routing_groups',
      {
        routing_groups: names(11).map((group_name) => ({
          group_name,
          models: names(100),
          routing_strategy: 'least-busy',
        })),
      },
    ],
    ['fallbacks[0].*', { fallbacks: [{ '*': names(101) }] }],
    ['context_window_fallbacks[0].*', { context_window_fallbacks: [{ '*': names(101) }] }],
    ['model_group_alias', { model_group_alias: Object.fromEntries(names(1001).map((name) => [name, 'x'])) }],
    [
      'model_group_retry_policy',
      { model_group_retry_policy: Object.fromEntries(names(101).map((name) => [name, {}])) },
    ],
  ]
  test.each(long)('a list that is longer than anybody needs is refused: %s', (param, router) => {
    const error = refusalFor({ model: 'asked', user_config: wildcards(1, router) })
    expect(error.param).toBe(`user_config.${param}`)
    expect(error.message).toContain('at most')
  })

  test('the two list forms of a request are bounded alike', () => {
    const user_config = wildcards(1, {})
    for (const fallbacks of [names(101), names(101).map((model) => ({ model }))]) {
      expect(refusalFor({ model: 'asked', user_config, fallbacks }).param).toBe('fallbacks')
    }
  })

  test('groups named like members of every object have the fallbacks they were given and no others', () => {
    const groups = ['constructor', 'toString', 'hasOwnProperty', 'other']
    const user_config = {
      model_list: groups.map((name) => ({ ...wildcard, model_name: name })),
      fallbacks: [{ toString: ['other'] }],
    }
    const plain = planOf({ model: 'constructor', user_config }).plan
    expect([plain.fallbacks['constructor'], plain.fallbacks['hasOwnProperty']]).toEqual([
      undefined,
      undefined,
    ])
    expect(planOf({ model: 'toString', user_config }).plan.fallbacks['toString']).toEqual(['other'])
  })
})

describe('names that would leave their place in a URL', () => {
  const unfit = ['azure/\ud800', 'azure/..', 'azure/./x', '../x', 'azure/a\u0000', 'azure/a\u0085', 'a\n']
  const azure = { api_key: 'k', api_base: 'https://me.example' }
  const operator = operatorOf({
    model_list: ['azure/*', 'short-*'].map((model_name) => ({
      model_name,
      litellm_params: { ...azure, model: 'azure/*' },
    })),
  })

  test.each(unfit)('%j is refused as a model of a request and of a config', (model) => {
    expect(refusalFor({ model }, operator).param).toBe('model')
    expect(refusalFor({ model, ...azure }).param).toBe('model')
    const user_config = { model_list: [{ model_name: 'mine', litellm_params: { ...azure, model } }] }
    const path = 'user_config.model_list[0].litellm_params.model'
    expect(refusalFor({ model: 'mine', user_config }).param).toBe(path)
  })

  test('also where a wildcard makes them, and as a fallback', () => {
    expect(refusalFor({ model: 'short-..' }, operator).code).toBe('model_not_found')
    const fallbacks = [{ '*': ['azure/..'] }]
    expect(refusalFor({ model: 'azure/a', fallbacks }, operator).param).toBe('fallbacks[0].*[0]')
    const made = planOf({ model: 'azure/a', fallbacks: [{ '*': ['short-..'] }] }, operator)
    expect(made.plan.deployments.map(({ model }) => model)).toEqual(['a'])
  })

  test('dots and slashes inside a name are its own', () => {
    expect(planOf({ model: 'azure/gpt-4.1..x/y' }, operator).plan.deployments).toHaveLength(1)
  })
})
