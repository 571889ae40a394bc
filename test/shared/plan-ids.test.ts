import { describe, expect, test } from 'vitest'
import { resolvePlan } from '../../shared/plans/plan.ts'
import { configWith, egress, ids, operatorOf, planOf, seedConfig } from './plan-support.ts'

function one(changes: Record<string, unknown> = {}, tenant = 'acme', customer: string | null = null) {
  const body = { model: 'mine', messages: [], user_config: configWith(changes) }
  const { plan } = resolvePlan({ body, tenant, customer }, { operator: operatorOf(), ids, egress })
  const [deployment] = plan.deployments
  if (!deployment) throw new Error('no deployment')
  return deployment
}

describe('ids of deployments', () => {
  test('are the same for the same deployment, whatever its weight, timeout or limits', () => {
    expect(one({ weight: 3, timeout: 9, rpm: 5, temperature: 1 }).id).toBe(one().id)
  })

  test.each([
    ['key', { api_key: 'sk-other' }],
    ['base', { api_base: 'https://x.example/v1' }],
    ['organization', { organization: 'org-x' }],
    ['provider', { model: 'groq/gpt-4o' }],
  ])('differ by %s, also without the model', (_what, changes) => {
    expect(one(changes).id).not.toBe(one().id)
    expect(one(changes).key_id).not.toBe(one().key_id)
  })

  test('differ by model, but not the one that carries a pause of the key', () => {
    expect(one({ model: 'openai/gpt-5' }).id).not.toBe(one().id)
    expect(one({ model: 'openai/gpt-5' }).key_id).toBe(one().key_id)
  })

  test("differ by tenant and by customer, so one's cooldown is never another's", () => {
    const all = [one(), one({}, 'other'), one({}, 'acme', 'c1'), one({}, 'acme', 'c2')]
    expect(new Set(all.map(({ id }) => id)).size).toBe(4)
    expect(new Set(all.map(({ key_id }) => key_id)).size).toBe(4)
  })

  test('twins of one list share their id and are told apart by an ordinal', () => {
    const [item] = configWith({}).model_list
    const { plan } = planOf({ model: 'mine', user_config: { model_list: [item, item] } })
    expect(new Set(plan.deployments.map(({ id }) => id)).size).toBe(1)
    expect(plan.deployments.map(({ name }) => name)).toEqual(['openai/gpt-4o', 'openai/gpt-4o#2'])
  })

  test('no id, name or plan holds a key', () => {
    const { plan } = planOf({ model: 'user-azure-instance', user_config: seedConfig() })
    expect(JSON.stringify(plan)).not.toMatch(/azure-key|openai-key|user\.openai/)
  })
})
