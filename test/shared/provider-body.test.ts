import { describe, expect, test } from 'vitest'
import { CHAT_PARAMS, REQUEST_FIELDS } from '../../shared/schemas/field-names.ts'
import { configWith, operatorOf, planOf, refusalFor } from './plan-support.ts'

const operator = operatorOf({
  model_list: [{ model_name: 'house', litellm_params: { model: 'openai/gpt-4o', api_key: 'k' } }],
})

describe('the body for the provider', () => {
  test('unknown fields stay as they came, gateway fields and credentials never do', () => {
    const kept = {
      vertex_ai_location: 'us-east1',
      metadata: { a: 'b' },
      cache_salt: 'x',
      cache_control: { type: 'ephemeral' },
      stop: null,
      top_a: 0.1,
      nested: { api_base: 'x', os: 'os.environ/X' },
    }
    const gateway = Object.fromEntries(REQUEST_FIELDS.map((field) => [field, null]))
    const { body } = planOf({
      model: 'gpt-3.5-turbo',
      ...kept,
      ...gateway,
      api_key: 'k',
      num_retries: 1,
      timeout: 5,
      litellm_trace_id: 'x',
      extra_body: { top_b: 2 },
    })
    expect(body).toEqual({
      model: 'gpt-3.5-turbo',
      messages: [{ role: 'user', content: 'hi' }],
      ...kept,
      top_b: 2,
    })
  })

  const misses = [
    'user_configs',
    'userConfig',
    'user-config',
    'litellm_params',
    'model_list',
    'apiKey',
    'API_KEY',
    'api-key',
    'baseUrl',
    'numRetries',
    'api.key',
    'openai_api_key',
    'azure_api_key',
    'x-api-key',
    'Authorization',
    'azure_endpoint',
    'openai_api_base',
    'hf_token',
    'access_token',
    'Token',
    'api\u200b_key',
    'ａｐｉ＿ｋｅｙ',
    'api_kéy',
  ]
  test.each(misses)('the near miss %s is refused instead of being sent on', (field) => {
    const error = refusalFor({ model: 'gpt-4o', api_key: 'k', [field]: { a: 1 } })
    expect([error.param, error.message]).toEqual([field, expect.stringContaining('Did you mean')])
    expect(refusalFor({ model: 'house', [field]: 'sk-mine' }, operator).param).toBe(field)
  })

  test.each([
    'routing_strategy',
    'retry_policy',
    'cooldown_time',
    'enable_pre_call_checks',
    'model_group_alias',
  ])('the setting %s of a config is refused beside it, and ignored when it is inert', (field) => {
    const own = { model: 'mine', user_config: configWith({}) }
    const error = refusalFor({ ...own, [field]: 5 })
    expect([error.param, error.message]).toEqual([field, expect.stringContaining('of the `user_config`')])
    expect(refusalFor({ model: 'house', [field]: 5 }, operator).param).toBe(field)
    expect(planOf({ ...own, [field]: {} }).body).not.toHaveProperty(field)
    expect(planOf({ ...own, extra_body: { [field]: 5 } }).body[field]).toBe(5)
  })

  test.each(['rpm', 'weight', 'order', 'max_parallel_requests', 'input_cost_per_token', 'model_info'])(
    'the setting %s of a deployment is refused beside it',
    (field) => {
      const error = refusalFor({ model: 'gpt-4o', api_key: 'k', [field]: 5 })
      expect([error.param, error.message]).toEqual([field, expect.stringContaining('`litellm_params`')])
    },
  )

  test('enable_tag_filtering is taken out, as in LiteLLM, and a near miss that asks for nothing as well', () => {
    const { body } = planOf({ model: 'house', enable_tag_filtering: true, user_configs: null }, operator)
    expect(Object.keys(body).toSorted()).toEqual(['messages', 'model'])
  })

  const genuine = [
    ...CHAT_PARAMS,
    'vertex_ai_location',
    'top_a',
    'min_tokens',
    'stop_token_ids',
    'logits_processors',
    'guided_json',
    'include_stop_str_in_output',
    'chat_template',
    'return_token_ids',
    'transforms',
    'provider',
    'enable_thinking',
  ]
  test.each(genuine)("a provider's own %s is sent on", (field) => {
    expect(planOf({ model: 'house', [field]: 7 }, operator).body[field]).toBe(7)
  })

  test.each(['litellm_credential_name', 'callbacks', 'redis_url', 'litellm_embedding_config', 'set_verbose'])(
    'the harmful field %s is refused, and ignored when it is inert',
    (field) => {
      expect(refusalFor({ model: 'gpt-4o', api_key: 'k', [field]: 'x' }).param).toBe(field)
      expect(planOf({ model: 'gpt-4o', api_key: 'k', [field]: false }).body).not.toHaveProperty(field)
    },
  )

  const smuggled = [
    'api_key',
    'api_base',
    'user_config',
    'stream',
    'messages',
    'litellm_credential_name',
    'openai_api_key',
    ...REQUEST_FIELDS,
  ]
  test.each(smuggled)('extra_body can not smuggle %s, also not in a second one', (field) => {
    const own = { model: 'gpt-4o', api_key: 'k' }
    expect(refusalFor({ ...own, extra_body: { [field]: 'x' } }).param).toBe(`extra_body.${field}`)
    const nested = { extra_body: { extra_body: { [field]: 'x' } } }
    expect(refusalFor({ model: 'house', ...nested }, operator).param).toBe('extra_body.extra_body')
    const user_config = configWith(nested)
    expect(refusalFor({ model: 'mine', user_config }).param).toMatch(/\.extra_body\.extra_body$/)
  })
})
