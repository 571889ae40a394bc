import { describe, expect, test } from 'vitest'
import { OPERATOR, bundleOf } from '../../shared/settings/deployments.ts'
import { operatorBundles } from '../../shared/settings/operator-config.ts'
import { ids, operatorOf, planOf, refusalFor } from './plan-support.ts'

const messages = [{ role: 'user', content: 'shorter' }]
const NAME = '\u001ffallbacks[0]'

function entry(model_name: string, params: Record<string, unknown> = {}) {
  return {
    model_name,
    litellm_params: { model: `openai/${model_name}`, api_key: `sk-${model_name}`, ...params },
  }
}

function groupsOf({ plan }: ReturnType<typeof planOf>) {
  return plan.deployments.map(({ group }) => group)
}

describe('tags and regions', () => {
  const list = [
    entry('a', { region_name: 'eu-west-1' }),
    entry('b', { region_name: 'us-east-1' }),
    entry('c', { region_name: 'eu-north-1' }),
    entry('c', { region_name: 'us-east-1', weight: 1 }),
  ]
  const user_config = {
    model_list: list,
    fallbacks: [{ a: ['b', 'c'] }],
    context_window_fallbacks: [{ a: ['b'] }],
  }

  test('a hop that has nobody left is in no table, of the others only those that are left', () => {
    const made = planOf({ model: 'a', user_config, allowed_model_region: 'eu' })
    expect(groupsOf(made)).toEqual(['a', 'c'])
    expect(made.plan).toMatchObject({ fallbacks: { a: ['c'] }, context_window_fallbacks: { a: [] } })
  })

  test('hold for objects too, whoever their key is from: a place that is not known is none', () => {
    const fallbacks = [
      { model: 'b', messages },
      { model: 'c', messages },
      { model: 'groq/x', api_key: 'k' },
    ]
    const made = planOf({ model: 'a', user_config, allowed_model_region: 'eu', fallbacks })
    expect(made.plan.fallbacks['a']).toEqual(['\u001ffallbacks[1]'])
    expect(made.bundles?.map(({ api_key: key }) => key)).toEqual(['sk-a', 'sk-c'])
  })

  test('a start that has nobody left is refused', () => {
    expect(refusalFor({ model: 'b', user_config, allowed_model_region: 'eu' }).param).toBe(
      'allowed_model_region',
    )
    expect(refusalFor({ model: 'gpt-4o', api_key: 'k', allowed_model_region: 'eu' }).param).toBe(
      'allowed_model_region',
    )
    const tagged = { model_list: [entry('a', { tags: ['paid'] })], enable_tag_filtering: true }
    expect(refusalFor({ model: 'a', user_config: tagged, tags: ['free'] }).param).toBe('tags')
  })
})

describe('settings by group', () => {
  const user_config = {
    model_list: [entry('a'), entry('b'), entry('b', { weight: 2 })],
    retry_policy: { TimeoutErrorRetries: 1 },
    model_group_retry_policy: { b: { TimeoutErrorRetries: 4 } },
    routing_groups: [
      {
        group_name: 'both',
        models: ['b', 'a'],
        routing_strategy: 'priority',
        model_priorities: { a: 2, b: 1 },
      },
    ],
    default_max_parallel_requests: 3,
  }

  test('an object that copies a group goes by the settings of that group', () => {
    const { plan } = planOf({ model: 'a', user_config, fallbacks: [{ model: 'b', messages }] })
    expect(plan.retry_policies).toEqual({ '*': { timeout: 1 }, [NAME]: { timeout: 4 } })
  })

  test('a routing group is a hop with its tiers', () => {
    const { plan } = planOf({ model: 'a', user_config, fallbacks: ['both'] })
    const tiers = plan.deployments
      .filter(({ group }) => group === 'both')
      .map(({ model, order }) => [model, order])
    expect(tiers).toEqual([
      ['b', 1],
      ['b', 1],
      ['a', 2],
    ])
  })

  test("what the operator sets for his own is no limit of a client's deployment", () => {
    const operator = operatorOf({
      model_list: [entry('house')],
      router_settings: { default_max_parallel_requests: 3 },
    })
    const { plan } = planOf({ model: 'house', fallbacks: [{ model: 'groq/x', api_key: 'k' }] }, operator)
    expect(plan.deployments.map(({ max_parallel: most }) => most)).toEqual([3, undefined])
  })

  test('what the operator sets holds for his key whatever a client overrides beside it, and not for a key of the client', () => {
    const settings = { default_max_parallel_requests: 3, disable_cooldowns: true, num_retries: 0 }
    const operator = operatorOf({
      model_list: [
        entry('house', { configurable_clientside_auth_params: ['organization', 'api_key'] }),
        entry('b'),
      ],
      router_settings: {
        ...settings,
        fallbacks: [{ house: ['b'] }],
        default_fallbacks: ['b'],
        context_window_fallbacks: [{ house: ['b'] }],
        content_policy_fallbacks: [{ house: ['b'] }],
      },
    })
    const planWith = (fields: object) => {
      const { plan } = planOf({ model: 'house', ...fields }, operator)
      const { num_retries: retries, disable_cooldowns: isOff, fallbacks, deployments } = plan
      expect(fallbacks).toEqual({})
      expect(plan).not.toHaveProperty('context_window_fallbacks')
      return [retries, isOff, deployments.map(({ max_parallel: most }) => most)]
    }
    expect(planWith({ organization: 'org-1' })).toEqual([0, true, [3]])
    expect(planWith({ api_key: 'sk-mine' })).toEqual([2, false, [undefined]])
  })
})

describe("test switches on the operator's models", () => {
  const list = [entry('house'), entry('spare')]
  const general_settings = { dangerously_allow_mock_testing_request_params: true }
  const operator = operatorOf({
    model_list: list,
    general_settings,
    router_settings: { fallbacks: [{ house: ['spare'] }] },
  })

  test.each(['mock_response', 'mock_timeout', 'mock_testing_fallbacks', 'mock_testing_rate_limit_error'])(
    '%s needs his leave',
    (field) => {
      const shut = operatorOf({ model_list: list })
      expect(refusalFor({ model: 'house', [field]: true }, shut).param).toBe(field)
    },
  )

  test('a canned answer goes with the job and leaves the real deployment alone', () => {
    const made = planOf({ model: 'house', mock_response: 'canned', mock_delay: 2 }, operator)
    const [deployment] = made.plan.deployments
    if (!deployment) throw new Error('no deployment')
    const bundle = bundleOf(deployment, made.bundles?.[0], operatorBundles(operator, ids))
    expect(bundle).toMatchObject({ mock_response: 'canned', mock_delay_s: 2 })
    expect(JSON.stringify(made)).not.toContain('sk-house')
    expect(made.plan.owner_id).toBe(OPERATOR)
    const real = planOf({ model: 'house' }, operator).plan.deployments[0]
    expect(deployment.operator_id).toBe(real?.operator_id)
    expect([deployment.id, deployment.key_id]).not.toContain(real?.id)
    expect(deployment.key_id).not.toBe(real?.key_id)
    const late = planOf({ model: 'house', mock_timeout: true }, operator).plan.deployments[0]
    expect([real?.id, deployment.id]).not.toContain(late?.id)
  })

  test('an object may have one for itself', () => {
    const made = planOf({ model: 'house', fallbacks: [{ model: 'spare', mock_response: 'hop' }] }, operator)
    expect(made.bundles?.map(({ mock_response: mock }) => mock)).toEqual([undefined, 'hop'])
  })

  test('a failure that is asked for is in the plan, and nothing goes with the job', () => {
    const made = planOf({ model: 'house', mock_testing_fallbacks: true }, operator)
    expect([made.plan.first_failure, made.bundles]).toEqual(['fallbacks', null])
  })
})
