import { COOLDOWN_S_MAX, RETRIES_MAX, TIMEOUT_S_MAX, secondsOf } from './deployments.ts'
import type { FallbackEntry } from './fallback-tables.ts'
import { named, readFallbacks } from './fallback-tables.ts'
import type { Notes } from './notes.ts'
import { capped } from './notes.ts'
import { isInert } from './refused-keys.ts'
import { LATER_PARAMS } from './schemas/field-names.ts'
import type { RouterSettings, UserDeployment } from './schemas/user-config.ts'

export const HOPS_MAX = 10
const RETRY_AFTER_S_MAX = 60

/** LiteLLM's defaults; the timeout is ours, theirs is 6000 s. */
const DEFAULTS = { numRetries: 2, maxFallbacks: 5, timeoutS: 600, retryAfterS: 0, cooldownTimeS: 5 }

/** The part of a router config that has an effect now, with every default filled in. */
export type ActiveRouter = {
  numRetries: number
  maxFallbacks: number
  timeoutS: number
  retryAfterS: number
  /** Null: not said, so the ratio rule holds. An explicit 3 is 3. */
  allowedFails: number | null
  cooldownTimeS: number
  disableCooldowns: boolean
  fallbacks: FallbackEntry[]
  /** Null: not set, which is not the same as empty. */
  contextWindowFallbacks: FallbackEntry[] | null
  contentPolicyFallbacks: FallbackEntry[] | null
  aliases: ReadonlyMap<string, string>
}

/** Reads the active settings; values over a cap are lowered and named in `notes`. */
export function readRouter(settings: RouterSettings, path: string, notes: Notes): ActiveRouter {
  const cap = (value: number | undefined, most: number, key: string) =>
    capped(value, most, `${path}.${key}`, notes)
  const router: ActiveRouter = {
    numRetries: cap(settings.num_retries, RETRIES_MAX, 'num_retries') ?? DEFAULTS.numRetries,
    maxFallbacks: cap(settings.max_fallbacks, HOPS_MAX, 'max_fallbacks') ?? DEFAULTS.maxFallbacks,
    timeoutS: cap(secondsOf(settings.timeout), TIMEOUT_S_MAX, 'timeout') ?? DEFAULTS.timeoutS,
    retryAfterS: cap(settings.retry_after, RETRY_AFTER_S_MAX, 'retry_after') ?? DEFAULTS.retryAfterS,
    allowedFails: settings.allowed_fails ?? null,
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
    aliases: readAliases(settings),
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

function readAliases(settings: RouterSettings): ReadonlyMap<string, string> {
  const aliases = new Map<string, string>()
  for (const [alias, target] of Object.entries(settings.model_group_alias ?? {})) {
    const group = typeof target === 'string' ? target : Array.isArray(target) ? target[0] : target.model
    if (group !== undefined) aliases.set(alias, group)
  }
  return aliases
}

/**
 * What settings without an effect yet name, as entries to be checked like fallbacks: a wrong name must not wait for the
 * version that reads it.
 */
export function laterGroups(settings: RouterSettings, path: string): FallbackEntry[] {
  return [
    ...(['context_window_fallbacks', 'content_policy_fallbacks'] as const).flatMap((key) =>
      readFallbacks(settings[key] ?? [], `${path}.${key}`),
    ),
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

const LATER_SETTINGS = [
  'stream_timeout',
  'default_max_parallel_requests',
  'context_window_fallbacks',
  'content_policy_fallbacks',
  'allowed_fails_policy',
  'retry_policy',
  'model_group_retry_policy',
  'routing_strategy',
  'routing_strategy_args',
  'routing_groups',
  'enable_pre_call_checks',
  'enable_tag_filtering',
  'default_priority',
] as const

const LATER_INFO = [
  'id',
  'base_model',
  'max_input_tokens',
  'max_tokens',
  'allowed_fails_policy',
  'input_cost_per_token',
  'output_cost_per_token',
]

/** Names every setting that is valid and has no effect yet. */
export function noteLaterSettings(settings: RouterSettings, path: string, notes: Notes): void {
  for (const key of LATER_SETTINGS) {
    const value = settings[key]
    if (!isInert(value) && value !== 'simple-shuffle') notes.notYetActive.push(`${path}.${key}`)
  }
  warnOfMaxRetries(settings.default_litellm_params, `${path}.default_litellm_params`, notes)
}

/** The same for one deployment of the list. */
export function noteLaterParams(item: UserDeployment, path: string, notes: Notes): void {
  const params = item.litellm_params
  for (const key of LATER_PARAMS) {
    if (!isInert(params[key])) notes.notYetActive.push(`${path}.litellm_params.${key}`)
  }
  for (const key of LATER_INFO) {
    if (!isInert(item.model_info?.[key])) notes.notYetActive.push(`${path}.model_info.${key}`)
  }
  warnOfMaxRetries(params, `${path}.litellm_params`, notes)
}

function warnOfMaxRetries(params: Record<string, unknown> | undefined, path: string, notes: Notes): void {
  const retries = params?.['max_retries']
  if (retries === undefined || retries === null || retries === 0 || retries === '0') return
  const text = 'has no effect: the gateway is the only one that retries. Use `num_retries`.'
  notes.warnings.push(`\`${path}.max_retries\` ${text}`)
}
