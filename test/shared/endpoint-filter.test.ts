import { describe, expect, test } from 'vitest'
import type { EndpointName } from '../../shared/jobs/endpoints.ts'
import { createPlanCache } from '../../shared/plans/plan-cache.ts'
import { resolvePlan } from '../../shared/plans/plan.ts'
import { allProviders, findProvider } from '../../shared/settings/provider-catalog.ts'
import { configWith, egress, ids, operatorOf, planOf, refusalFor } from './plan-support.ts'

const of = (model_name: string, model: string) => ({
  model_name,
  litellm_params: { model, api_key: `key-of-${model}` },
})
/** A deployment of a group, told by its region. */
function nova(aws_region_name: string) {
  return {
    model_name: 'nova',
    litellm_params: { model: 'bedrock/nova', api_key: aws_region_name, aws_region_name },
  }
}
const mixed = {
  model_list: [
    of('mixed', 'openai/o'),
    of('mixed', 'voyage/v'),
    of('mixed', 'groq/g'),
    of('spare', 'voyage/s'),
    of('chat', 'groq/c'),
  ],
  fallbacks: [{ mixed: ['chat', 'spare'] }],
}
const providersOf = (bundles: ReturnType<typeof planOf>['bundles']) => bundles?.map(({ model }) => model)

describe('deployments that have not the endpoint', () => {
  test('are left out of their group, and fallbacks that lead to none of them too', () => {
    const body = { model: 'mixed', user_config: mixed }
    const chat = planOf(body)
    expect(providersOf(chat.bundles)).toEqual(['o', 'g', 'c'])
    expect(chat.plan.fallbacks).toEqual({ mixed: ['chat'] })
    const embeddings = planOf(body, operatorOf(), 'acme', 'embeddings')
    expect(providersOf(embeddings.bundles)).toEqual(['o', 'v', 's'])
    expect(embeddings.plan.fallbacks).toEqual({ mixed: ['spare'] })
    expect(JSON.stringify(embeddings.bundles)).not.toContain('key-of-groq')
  })

  test('of a whole group are a 400 on `model` that names who serves what', () => {
    const error = refusalFor({ model: 'chat', user_config: mixed }, operatorOf(), 'embeddings')
    expect(error).toMatchObject({ status: 400, param: 'model', code: 'unsupported_endpoint' })
    expect(error.message).toMatch(/\/v1\/embeddings: provider "groq" serves \/v1\/chat\/completions/)
    const alone = refusalFor({ model: 'voyage/v', api_key: 'k' })
    expect(alone.message).toMatch(/\/v1\/chat\/completions: provider "voyage" serves \/v1\/embeddings/)
    const operator = operatorOf({ model_list: [of('house', 'jina_ai/j')] })
    expect(refusalFor({ model: 'house' }, operator)).toMatchObject({
      param: 'model',
      code: 'unsupported_endpoint',
    })
    expect(planOf({ model: 'house' }, operator, 'acme', 'embeddings').plan.deployments).toHaveLength(1)
  })

  test('the region that a deployment is called in is one that a request may be held to', () => {
    const user_config = { model_list: [nova('us-east-1'), nova('eu-west-1')] }
    const { bundles } = planOf({ model: 'nova', user_config, allowed_model_region: 'eu' })
    expect(bundles?.map(({ api_key }) => api_key)).toEqual(['eu-west-1'])
    const alone = { model: 'bedrock/nova', api_key: 'k', aws_region_name: 'us-east-1' }
    expect(planOf({ ...alone, allowed_model_region: 'us' }).bundles).toHaveLength(1)
    expect(refusalFor({ ...alone, allowed_model_region: 'eu' }).param).toBe('allowed_model_region')
  })

  test('a region is only said to leave nobody where the endpoint leaves somebody', () => {
    const body = { model: 'mixed', user_config: mixed, allowed_model_region: 'eu' }
    expect(refusalFor(body).param).toBe('allowed_model_region')
    expect(refusalFor({ ...body, model: 'spare' }).param).toBe('model')
  })

  test('a remembered plan is not taken for another endpoint', () => {
    const cache = createPlanCache()
    const modelsAt = (endpoint: EndpointName) =>
      resolvePlan(
        { body: { model: 'mixed', user_config: mixed }, tenant: 'acme', customer: null, endpoint },
        { operator: operatorOf(), ids, egress, cache },
      ).plan.deployments.map(({ model }) => model)
    expect([modelsAt('chat'), modelsAt('embeddings'), modelsAt('chat')]).toEqual([
      ['o', 'g', 'c'],
      ['o', 'v', 's'],
      ['o', 'g', 'c'],
    ])
  })

  test('a canned answer needs no provider', () => {
    const config = configWith({ model: 'voyage/v', mock_response: 'hello' })
    expect(planOf({ model: 'mine', user_config: config }).plan.deployments).toHaveLength(1)
  })
})

function having(endpoint: EndpointName): string[] {
  return allProviders().flatMap(({ name, native }) => (native.includes(endpoint) ? [name] : []))
}

describe('what the catalog says of endpoints', () => {
  test('whoever has chat completions answers responses and messages by way of them', () => {
    for (const { native, endpoints, family } of allProviders()) {
      expect(native.every((name) => endpoints.includes(name))).toBe(true)
      expect(endpoints.includes('responses') && endpoints.includes('messages')).toBe(native.includes('chat'))
      expect(endpoints.length === 0).toBe(family === 'unserved')
    }
  })

  test('responses pass as they are to OpenAI and Azure alone, messages to Anthropic', () => {
    expect(having('responses')).toEqual(['openai', 'azure'])
    expect(having('messages')).toEqual(['anthropic'])
  })

  test.each(['openai', 'custom_openai', 'hosted_vllm', 'litellm_proxy'])('%s may be any server', (name) => {
    expect(findProvider(name)?.native).toEqual(
      expect.arrayContaining(['chat', 'completions', 'embeddings', 'moderations']),
    )
  })
})
