import { describe, expect, test } from 'vitest'
import { operatorOf, planOf } from './plan-support.ts'

type Given = { params?: Record<string, unknown>; info?: Record<string, unknown> }

/** Prices and window of the only deployment of a `user_config`. */
function factsOf(model: string, { params = {}, info }: Given = {}) {
  const entry = {
    model_name: 'mine',
    litellm_params: { model, api_key: 'k', ...params },
    ...(info ? { model_info: info } : {}),
  }
  const { plan } = planOf({ model: 'mine', user_config: { model_list: [entry] } })
  const { prices, max_input_tokens } = plan.deployments[0] ?? {}
  return { prices, max_input_tokens }
}

const miniPrices = (params: Record<string, unknown>) => factsOf('openai/gpt-4o-mini', { params }).prices
const miniWindow = (info: Record<string, unknown>) => factsOf('openai/gpt-4o-mini', { info }).max_input_tokens

const MINI = { input: 1.5e-7, output: 6e-7, cached_input: 7.5e-8 }
const UNKNOWN = { prices: undefined, max_input_tokens: undefined }
const OWN_BASE = { api_base: 'https://vllm.example/v1' }
const AZURE = { api_base: 'https://me.openai.azure.com', api_version: '2024-10-21' }

describe('what is known of a deployment’s model', () => {
  test.for([
    ['openai/gpt-4o-mini', {}],
    ['gpt-4o-mini', { params: { api_base: 'https://api.openai.com/v1' } }],
    ['gpt-4o-mini', { params: { api_base: 'https://api.openai.com/v1/' } }],
    ['azure/gpt-4o-mini', { params: AZURE }],
    ['azure/my-deployment', { params: AZURE, info: { base_model: 'gpt-4o-mini' } }],
    ['azure/my-deployment', { params: AZURE, info: { base_model: 'azure/gpt-4o-mini' } }],
    ['openai/anything', { params: OWN_BASE, info: { base_model: 'gpt-4o-mini' } }],
    ['hosted_vllm/anything', { params: OWN_BASE, info: { base_model: 'openai/gpt-4o-mini' } }],
  ] as [string, Given][])('comes from the table: %s, %j', ([model, given]) => {
    expect(factsOf(model, given)).toEqual({ prices: MINI, max_input_tokens: 128_000 })
  })

  test.for([
    ['openai/gpt-4o-mini', { params: OWN_BASE }],
    ['hosted_vllm/gpt-4o-mini', { params: OWN_BASE }],
    ['azure/my-deployment', { params: AZURE }],
    ['openai/gpt-4o-mini', { info: { base_model: 'my-finetune' } }],
    ['groq/gpt-4o-mini', {}],
  ] as [string, Given][])('is nothing rather than a guess: %s, %j', ([model, given]) => {
    expect(factsOf(model, given)).toEqual(UNKNOWN)
  })
})

describe('what the config says itself wins over the table', () => {
  const [input, output, cached] = [0.000_001, 0.000_002, 0.000_000_5]

  test.for([
    ['params', { params: { input_cost_per_token: input, output_cost_per_token: output } }],
    ['info', { info: { input_cost_per_token: input, output_cost_per_token: output } }],
    [
      'params before info',
      {
        params: { input_cost_per_token: input, output_cost_per_token: output },
        info: { input_cost_per_token: 7, output_cost_per_token: 7 },
      },
    ],
  ] as [string, Given][])('in full: %s', ([, given]) => {
    expect(factsOf('openai/gpt-4o-mini', given).prices).toEqual({ input, output })
    expect(factsOf('openai/unknown', given).prices).toEqual({ input, output })
  })

  test('each price by itself, beside those of the table', () => {
    expect(miniPrices({ input_cost_per_token: input })).toEqual({ input, output: MINI.output })
    expect(miniPrices({ output_cost_per_token: output })).toEqual({ ...MINI, output })
    expect(miniPrices({ cache_read_input_token_cost: cached })).toEqual({ ...MINI, cached_input: cached })
    expect(miniPrices({ input_cost_per_token: 0, output_cost_per_token: 0 })).toEqual({ input: 0, output: 0 })
  })

  test('a price by time stands alone', () => {
    const params = { input_cost_per_second: 0.25, output_cost_per_second: 0.5 }
    expect(factsOf('openai/gpt-4o-mini', { params }).prices).toEqual({ per_second: 0.75 })
  })

  test('how long prompts may be for a price does not bound prices of its own', () => {
    const long = 'gemini-2.5-pro'
    const given = (params: object) => ({
      params: { ...OWN_BASE, ...params },
      info: { base_model: `gemini/${long}` },
    })
    expect(factsOf('openai/x', given({})).prices).toHaveProperty('input_tokens_max')
    const own = given({ input_cost_per_token: input, output_cost_per_token: output })
    expect(factsOf('openai/x', own).prices).toEqual({ input, output })
    expect(factsOf('openai/x', given({ input_cost_per_token: input })).prices).toHaveProperty(
      'input_tokens_max',
    )
  })

  test('the window', () => {
    expect(miniWindow({ max_input_tokens: 5_000 })).toBe(5_000)
    expect(miniWindow({ max_tokens: 6_000 })).toBe(6_000)
    expect(miniWindow({ max_tokens: 6_000, max_input_tokens: 5_000 })).toBe(5_000)
  })

  test('for the operator as for a client', () => {
    const operator = operatorOf({
      model_list: [
        {
          model_name: 'house',
          litellm_params: {
            model: 'openai/gpt-4o-mini',
            api_key: 'sk-operator',
            input_cost_per_token: input,
            output_cost_per_token: output,
          },
        },
      ],
    })
    const { plan } = planOf({ model: 'house' }, operator)
    expect(plan.deployments[0]?.prices).toEqual({ input, output })
  })
})
