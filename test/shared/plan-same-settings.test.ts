import { expect, test } from 'vitest'
import type { routerShape } from '../../shared/schemas/user-config.ts'
import { operatorOf, planOf } from './plan-support.ts'

const list = ['a', 'b', 'c'].map((name) => ({
  model_name: name,
  litellm_params: { model: `openai/${name}`, api_key: `sk-${name}`, rpm: 10, tags: [name] },
}))

/** Every key of a router config with a value that is not its default. */
const SETTINGS: Record<keyof typeof routerShape, unknown> = {
  num_retries: 7,
  max_fallbacks: 1,
  timeout: 33,
  stream_timeout: '44',
  default_litellm_params: { timeout: 5, temperature: 0.5 },
  default_max_parallel_requests: 3,
  fallbacks: [{ a: ['b'] }],
  default_fallbacks: ['c'],
  context_window_fallbacks: [{ a: ['c'] }],
  content_policy_fallbacks: [{ '*': ['b'] }],
  model_group_alias: { quick: 'a' },
  allowed_fails: 3,
  allowed_fails_policy: { InternalServerErrorAllowedFails: 0 },
  cooldown_time: 0,
  disable_cooldowns: true,
  retry_after: 2,
  retry_policy: { InternalServerErrorRetries: 4 },
  model_group_retry_policy: { a: { TimeoutErrorRetries: 0 } },
  routing_strategy: 'least-busy',
  routing_strategy_args: { ttl: 5 },
  routing_groups: [
    {
      group_name: 'both',
      models: ['b', 'a'],
      routing_strategy: 'priority',
      model_priorities: { b: 1, a: 2 },
    },
  ],
  enable_pre_call_checks: true,
  enable_tag_filtering: true,
  default_priority: 0,
  client_ttl: 5,
  polling_interval: 1,
  ignore_invalid_deployments: true,
}

// What has an effect on other requests, beside others, or none at all.
const REQUESTS: Partial<Record<string, object>> = {
  model_group_alias: { model: 'quick' },
  routing_groups: { model: 'both' },
  enable_tag_filtering: { model: 'a', tags: ['a', 'b'], fallbacks: ['c', 'b'] },
}
const BESIDE: Partial<Record<string, object>> = {
  routing_strategy_args: { routing_strategy: 'latency-based-routing' },
}
const WITHOUT_EFFECT = ['client_ttl', 'polling_interval', 'ignore_invalid_deployments']

/** All of a plan but whose it is. */
function settingsOf({ plan }: ReturnType<typeof planOf>) {
  const { source: _source, owner_id: _ownerId, ...settings } = plan
  const deployments = plan.deployments.map(
    ({ id: _id, key_id: _keyId, operator_id: _operatorId, ...deployment }) => deployment,
  )
  return { ...settings, deployments }
}

test.for(Object.entries(SETTINGS))(
  "%s does the same in a user_config and in the operator's config.yaml, and has an effect",
  ([key, value]) => {
    const request = { model: 'a', ...REQUESTS[key] }
    const settings = { ...BESIDE[key], [key]: value }
    const ofClient = planOf({ ...request, user_config: { model_list: list, ...settings } })
    const operator = operatorOf({ model_list: list, router_settings: settings })
    expect(settingsOf(planOf(request, operator))).toEqual(settingsOf(ofClient))
    const hasEffect = !WITHOUT_EFFECT.includes(key)
    expect(operator.warnings).toEqual(
      hasEffect ? [] : [expect.stringContaining(`router_settings.${key} has no effect`)],
    )

    // A name that only this setting makes: it is found, which is the effect.
    if (key === 'model_group_alias' || key === 'routing_groups') return
    const without = { user_config: { model_list: list, ...BESIDE[key] } }
    const isSame =
      JSON.stringify(settingsOf(planOf({ ...request, ...without }))) === JSON.stringify(settingsOf(ofClient))
    expect(isSame).toBe(!hasEffect)
  },
)
