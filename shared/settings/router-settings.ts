import { COOLDOWN_S_MAX, RETRIES_MAX, TIMEOUT_S_MAX, secondsOf } from './caps.ts'
import type { FallbackEntry } from '../plans/fallback-tables.ts'
import { named, readFallbacks } from '../plans/fallback-tables.ts'
import type { Notes } from './notes.ts'
import { capped } from './notes.ts'
import { readAllowedFails, readRetryPolicy } from './retry-policies.ts'
import type { RoutingGroup } from './routing-groups.ts'
import { readRoutingGroups, readStrategy } from './routing-groups.ts'
import type { CountsByClass } from '../schemas/error-class.ts'
import type { RetryPolicy, Strategy } from '../schemas/plan.ts'
import type { RouterSettings } from '../schemas/user-config.ts'

/** Classes of a job's priority. */
export type Priority = 'high' | 'normal' | 'low'

export const HOPS_MAX = 10
const RETRY_AFTER_S_MAX = 60

/** LiteLLM's defaults; the timeout is ours, theirs is 6000 s. */
const DEFAULTS = { numRetries: 2, maxFallbacks: 5, timeoutS: 600, retryAfterS: 0, cooldownTimeS: 5 }

/** A router config with every default filled in. */
export type ActiveRouter = {
  numRetries: number
  maxFallbacks: number
  timeoutS: number
  streamTimeoutS: number | null
  retryAfterS: number
  retryPolicy: RetryPolicy | null
  /** Of single model groups; replaces `retryPolicy` there. */
  groupRetryPolicies: ReadonlyMap<string, RetryPolicy>
  /** Null: not said, so the ratio rule holds. An explicit 3 is 3. */
  allowedFails: number | null
  allowedFailsPolicy: CountsByClass | null
  cooldownTimeS: number
  disableCooldowns: boolean
  fallbacks: FallbackEntry[]
  /** Null: not set, which is not the same as empty. */
  contextWindowFallbacks: FallbackEntry[] | null
  contentPolicyFallbacks: FallbackEntry[] | null
  aliases: ReadonlyMap<string, string>
  /** Aliases that are not listed. */
  hiddenAliases: ReadonlySet<string>
  /** Null: shuffle. */
  strategy: Strategy | null
  routingGroups: readonly RoutingGroup[]
  /** Calls in flight of a deployment that does not say how many. */
  maxParallel: number | null
  checksContext: boolean
  filtersTags: boolean
  priority: Priority | null
}

/** Reads the active settings; values over a cap are lowered and named in `notes`. */
export function readRouter(settings: RouterSettings, path: string, notes: Notes): ActiveRouter {
  const cap = (value: number | undefined, most: number, key: string) =>
    capped(value, most, `${path}.${key}`, notes)
  const router: ActiveRouter = {
    numRetries: cap(settings.num_retries, RETRIES_MAX, 'num_retries') ?? DEFAULTS.numRetries,
    maxFallbacks: cap(settings.max_fallbacks, HOPS_MAX, 'max_fallbacks') ?? DEFAULTS.maxFallbacks,
    timeoutS: cap(secondsOf(settings.timeout), TIMEOUT_S_MAX, 'timeout') ?? DEFAULTS.timeoutS,
    streamTimeoutS: cap(secondsOf(settings.stream_timeout), TIMEOUT_S_MAX, 'stream_timeout'),
    retryAfterS: cap(settings.retry_after, RETRY_AFTER_S_MAX, 'retry_after') ?? DEFAULTS.retryAfterS,
    ...readPolicies(settings, path, notes),
    allowedFails: settings.allowed_fails ?? null,
    allowedFailsPolicy: settings.allowed_fails_policy
      ? readAllowedFails(settings.allowed_fails_policy)
      : null,
    cooldownTimeS: cap(settings.cooldown_time, COOLDOWN_S_MAX, 'cooldown_time') ?? DEFAULTS.cooldownTimeS,
    disableCooldowns: settings.disable_cooldowns ?? false,
    fallbacks: readFallbacks(settings.fallbacks ?? [], `${path}.fallbacks`),
    contextWindowFallbacks: readOptional(
      settings.context_window_fallbacks,
      `${path}.context_window_fallbacks`,
    ),
    contentPolicyFallbacks: readOptional(
      settings.content_policy_fallbacks,
      `${path}.content_policy_fallbacks`,
    ),
    ...readAliases(settings),
    strategy: readStrategy(
      settings.routing_strategy,
      settings.routing_strategy_args,
      `${path}.routing_strategy_args`,
      notes,
    ),
    routingGroups: readRoutingGroups(settings.routing_groups ?? [], `${path}.routing_groups`, notes),
    maxParallel: settings.default_max_parallel_requests ?? null,
    checksContext: settings.enable_pre_call_checks ?? false,
    filtersTags: settings.enable_tag_filtering ?? false,
    priority: settings.default_priority === undefined ? null : priorityOf(settings.default_priority),
  }
  if (settings.default_fallbacks && settings.default_fallbacks.length > 0) {
    router.fallbacks.push({ from: '*', to: settings.default_fallbacks, path: `${path}.default_fallbacks` })
  }
  return router
}

// LiteLLM's default is an empty list, which a dumped config carries: it sets nothing.
function readOptional(maps: Record<string, string[]>[] | undefined, path: string): FallbackEntry[] | null {
  return maps && maps.length > 0 ? readFallbacks(maps, path) : null
}

function readAliases(settings: RouterSettings): Pick<ActiveRouter, 'aliases' | 'hiddenAliases'> {
  const aliases = new Map<string, string>()
  const hiddenAliases = new Set<string>()
  for (const [alias, target] of Object.entries(settings.model_group_alias ?? {})) {
    const isObject = typeof target === 'object' && !Array.isArray(target)
    const group = typeof target === 'string' ? target : Array.isArray(target) ? target[0] : target.model
    if (group !== undefined) aliases.set(alias, group)
    if (isObject && target.hidden === true) hiddenAliases.add(alias)
  }
  return { aliases, hiddenAliases }
}

function readPolicies(settings: RouterSettings, path: string, notes: Notes) {
  const { retry_policy: policy, model_group_retry_policy: ofGroups = {} } = settings
  const groupRetryPolicies = new Map(
    Object.entries(ofGroups).map(([group, own]) => [
      group,
      readRetryPolicy(own, `${path}.model_group_retry_policy.${group}`, notes),
    ]),
  )
  return {
    retryPolicy: policy ? readRetryPolicy(policy, `${path}.retry_policy`, notes) : null,
    groupRetryPolicies,
  }
}

const PRIORITY_NORMAL_MAX = 50

/** LiteLLM's numbers, 0 first, as one of our three classes. */
export function priorityOf(number: number): Priority {
  if (number === 0) return 'high'
  return number <= PRIORITY_NORMAL_MAX ? 'normal' : 'low'
}

/** Names in settings that must be groups of the config, beside those in fallbacks. */
export function groupsNamed(settings: RouterSettings, path: string): FallbackEntry[] {
  return [
    ...Object.keys(settings.model_group_retry_policy ?? {}).map((group) =>
      named(group, `${path}.model_group_retry_policy.${group}`),
    ),
    ...(settings.routing_groups ?? []).flatMap((routing, index) => {
      const at = `${path}.routing_groups[${index}]`
      const priorities = Object.keys(routing.model_priorities ?? {})
      return [
        ...routing.models.map((group, position) => named(group, `${at}.models[${position}]`)),
        ...priorities.map((group) => named(group, `${at}.model_priorities.${group}`)),
      ]
    }),
  ]
}

/** The groups that aliases stand for, as entries to be checked like fallbacks. */
export function aliasesOf({ aliases }: Pick<ActiveRouter, 'aliases'>, path: string): FallbackEntry[] {
  return [...aliases].map(([alias, group]) => named(group, `${path}.model_group_alias.${alias}`))
}

/** `max_retries` of LiteLLM's providers multiplied attempts; here it has nothing to act on. */
export function warnOfMaxRetries(
  params: Record<string, unknown> | undefined,
  path: string,
  notes: Notes,
): void {
  const retries = params?.['max_retries']
  if (retries === undefined || retries === null || retries === 0 || retries === '0') return
  const text = 'has no effect: the gateway is the only one that retries. Use `num_retries`.'
  notes.warnings.push(`\`${path === '' ? '' : `${path}.`}max_retries\` ${text}`)
}
