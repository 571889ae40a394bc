import { describe, expect, test } from 'vitest'
import type { PlanCache } from '../../shared/plans/plan-cache.ts'
import { createPlanCache } from '../../shared/plans/plan-cache.ts'
import { resolvePlan } from '../../shared/plans/plan.ts'
import { configWith, egress, ids, operatorOf, seedConfig } from './plan-support.ts'

const operator = operatorOf()

/** A cache that counts what it found. */
function countingCache() {
  const cache = createPlanCache()
  const counts = { hits: 0 }
  const recall: PlanCache['recall'] = (key, config) => {
    const found = cache.recall(key, config)
    if (found) counts.hits += 1
    return found
  }
  return { cache: { ...cache, recall }, counts }
}

function resolve(cache: PlanCache | null, body: Record<string, unknown>, tenant = 'acme', customer = 'c1') {
  return resolvePlan({ body: { messages: [], ...body }, tenant, customer }, { operator, ids, egress, cache })
}

describe('remembered plans', () => {
  const bodies: Record<string, unknown>[] = [
    { model: 'user-azure-instance', user_config: seedConfig() },
    { model: 'gpt-3.5-turbo', user_config: seedConfig({ num_retries: 99, routing_strategy: 'least-busy' }) },
    { model: 'mine', user_config: configWith({ temperature: 0.5, organization: ['org-a', 'org-b'] }) },
    { model: 'mine', user_config: configWith({ api_key: null, mock_response: 'hello' }) },
    {
      model: 'mine',
      user_config: configWith({
        model: 'snowflake/m',
        api_key: 'pat/access-token',
        api_base: 'https://acc.snowflakecomputing.com/api/v2/cortex/v1',
      }),
    },
  ]
  test.each(bodies)('are what they would be if made anew', (body) => {
    const { cache, counts } = countingCache()
    const fresh = resolve(null, body)
    expect([resolve(cache, body), resolve(cache, structuredClone(body))]).toEqual([fresh, fresh])
    expect(counts.hits).toBe(1)
  })

  test('hold no key: keys come from the request that is served', () => {
    const cache = createPlanCache()
    const config = seedConfig()
    const text = JSON.stringify(config)
    resolve(cache, { model: 'user-azure-instance', user_config: config })
    const key = ids.fingerprint('plan', 'acme', 'c1', 'chat', 'user-azure-instance', text)
    expect(cache.recall(key, {})?.bundles.map(({ api_key }) => api_key)).toEqual([null, null])
  })

  test('are none where a deployment has more than a key', () => {
    const { cache, counts } = countingCache()
    const signed = {
      model: 'bedrock/m',
      aws_access_key_id: 'a',
      aws_secret_access_key: 'b',
      aws_region_name: 'us-east-1',
    }
    const body = { model: 'mine', user_config: configWith({ api_key: null, ...signed }) }
    expect(resolve(cache, body)).toEqual(resolve(cache, body))
    expect(counts.hits).toBe(0)
  })

  test("are never another tenant's, customer's, model's or config's", () => {
    const { cache, counts } = countingCache()
    const body = { model: 'user-azure-instance', user_config: seedConfig() }
    const owners = [
      resolve(cache, body),
      resolve(cache, body, 'other'),
      resolve(cache, body, 'acme', 'c2'),
      resolve(cache, { ...body, model: 'gpt-3.5-turbo' }),
      resolve(cache, { ...body, user_config: seedConfig({ num_retries: 1 }) }),
    ].map(({ plan }) => plan.owner_id)
    expect(counts.hits).toBe(0)
    expect(new Set(owners).size).toBe(3)
  })

  test('are not used when the request has settings beside its config', () => {
    const { cache, counts } = countingCache()
    const body = { model: 'user-azure-instance', user_config: seedConfig() }
    resolve(cache, body)
    expect(resolve(cache, { ...body, num_retries: 7 }).plan.request_num_retries).toBe(7)
    expect(resolve(cache, { ...body, mock_response: 'x' }).bundles?.[0]?.mock_response).toBe('x')
    expect(counts.hits).toBe(0)
  })

  const tools = [{ type: 'mcp', server_label: 'x', authorization: 'secret' }]
  const mayHoldSecrets: [Record<string, unknown>, Record<string, unknown>][] = [
    [{ extra_headers: { 'x-team': 's' } }, {}],
    [{ extra_body: { token2: 's' } }, {}],
    [{ tools }, {}],
    [{ metadata: { note: 'secret' } }, {}],
    [{}, { default_litellm_params: { tools } }],
  ]
  test('leave out what may hold a secret elsewhere: headers, extra_body, tools', () => {
    const { cache, counts } = countingCache()
    for (const [params, router] of mayHoldSecrets) {
      const body = { model: 'mine', user_config: configWith(params, router) }
      expect(resolve(cache, body)).toEqual(resolve(cache, body))
    }
    expect(counts.hits).toBe(0)
  })

  test('are bounded: the least recently used one goes', () => {
    const cache = createPlanCache({ entriesMax: 2 })
    const made = { plan: resolve(null, { model: 'mine', user_config: configWith({}) }).plan, bundles: [] }
    const notes = { warnings: [] }
    for (const key of ['a', 'b']) cache.remember(key, { made, sources: [], notes }, 100)
    cache.recall('a', {})
    cache.remember('c', { made, sources: [], notes }, 100)
    expect(['a', 'b', 'c'].map((key) => cache.recall(key, {}) !== null)).toEqual([true, false, true])
  })

  test('are bounded in size: a long config is made anew, and of many the oldest go', () => {
    const { cache, counts } = countingCache()
    const long = { model: 'mine', user_config: configWith({ user: 'x'.repeat(17_000) }) }
    expect(resolve(cache, long)).toEqual(resolve(cache, long))
    expect(counts.hits).toBe(0)
    const small = createPlanCache({ charactersMax: 30_000 })
    const made = resolve(null, { model: 'mine', user_config: configWith({ user: 'x'.repeat(12_000) }) })
    const entry = { made: { plan: made.plan, bundles: made.bundles ?? [] }, sources: [0], notes: made }
    for (const key of ['a', 'b', 'b', 'c']) small.remember(key, entry, 12_500)
    expect(['a', 'b', 'c'].map((key) => small.recall(key, {}) !== null)).toEqual([false, true, true])
  })

  test('a config that is refused is refused each time', () => {
    const cache = createPlanCache()
    const body = { model: 'mine', user_config: configWith({ api_key: null }) }
    for (const own of [body, structuredClone(body)]) expect(() => resolve(cache, own)).toThrow('api_key')
  })
})
