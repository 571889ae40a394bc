import type { Deployment } from '../settings/deployments.ts'
import type { DeploymentSettings } from '../settings/deployment-settings.ts'
import type { RequestSettings } from '../settings/request-settings.ts'
import type { ActiveRouter } from '../settings/router-settings.ts'
import type { Plan, RetryPolicy, Strategy } from '../schemas/plan.ts'

/** A group of a plan, and the names its settings may stand under. */
type Named = { name: string; names: readonly string[] }

/** All of a plan but its groups and fallbacks. */
export type PlanSettings = Omit<
  Plan,
  | 'source'
  | 'owner_id'
  | 'group'
  | 'deployments'
  | 'fallbacks'
  | 'context_window_fallbacks'
  | 'content_policy_fallbacks'
  | 'rewriting_groups'
  | 'group_names'
  | 'is_timeout_clients'
  | 'max_attempts'
>

/** What a config and a request set, for the groups of one plan. What is not set is absent: plans are written with each job. */
export function planSettings(
  router: ActiveRouter,
  settings: RequestSettings,
  groups: readonly Named[],
): PlanSettings {
  const plan: PlanSettings = {
    max_fallbacks: settings.maxFallbacks ?? router.maxFallbacks,
    request_num_retries: settings.numRetries,
    num_retries: router.numRetries,
    retry_after_s: router.retryAfterS,
    timeout_s: settings.timeoutS ?? router.timeoutS,
    allowed_fails: router.allowedFails,
    cooldown_time_s: router.cooldownTimeS,
    disable_cooldowns: router.disableCooldowns,
  }
  const streamS = settings.streamTimeoutS ?? (settings.timeoutS === null ? router.streamTimeoutS : null)
  if (streamS !== null) plan.stream_timeout_s = streamS
  if (router.allowedFailsPolicy) plan.allowed_fails_policy = router.allowedFailsPolicy
  if (router.checksContext) plan.checks_context = true
  if (settings.drop) plan.drop = settings.drop
  if (settings.firstFailure) plan.first_failure = settings.firstFailure
  const priority = settings.priority ?? router.priority
  if (priority) plan.priority = priority
  const policies = byGroup<RetryPolicy>(groups, router.retryPolicy, (name) =>
    router.groupRetryPolicies.get(name),
  )
  if (policies) plan.retry_policies = policies
  const strategies = byGroup<Strategy>(groups, router.strategy, (name) => strategyOf(router, name))
  if (strategies) plan.strategies = strategies
  return plan
}

function strategyOf({ routingGroups }: ActiveRouter, name: string): Strategy | undefined {
  const group = routingGroups.find((one) => one.name === name || one.models.includes(name))
  return group && (group.strategy ?? { name: 'shuffle' })
}

/** A record by group with `*` for those that have nothing of their own; null when nobody has anything. */
function byGroup<T>(
  groups: readonly Named[],
  others: T | null,
  find: (name: string) => T | undefined,
): Record<string, T> | null {
  const found: Record<string, T> = Object.create(null)
  for (const { name, names } of groups) {
    const own = names.map(find).find((one) => one !== undefined)
    if (own !== undefined) found[name] = own
    else if (others !== null) found['*'] = others
  }
  return Object.keys(found).length > 0 ? found : null
}

/** A deployment's settings under a request and a config: a request's timeout stands instead of the deployment's. */
export function settingsOf(
  { settings: own }: Deployment,
  router: ActiveRouter,
  { timeoutS, streamTimeoutS }: RequestSettings,
): DeploymentSettings {
  const settings = { ...own }
  if (settings.max_parallel === undefined && router.maxParallel !== null)
    settings.max_parallel = router.maxParallel
  if (timeoutS !== null) settings.timeout_s = null
  if (timeoutS !== null || streamTimeoutS !== null) delete settings.stream_timeout_s
  return settings
}
