import type { Failure } from './deployment-state.ts'
import { REST_MS_MAX } from './deployment-usage.ts'
import { OPERATOR } from '../settings/deployments.ts'
import type { Plan, PlanDeployment } from '../schemas/plan.ts'

/** Below a second it would be a hot loop: waits for a paused key end at the deadline only. */
const RETRY_AFTER_MS_MIN = 1_000

/** What one failure may do to its deployment; the script that counts decides. */
export type CooldownRule = {
  mayCool: boolean
  isImmediate: boolean
  /** Failures allowed in a window; null: LiteLLM's ratio rule. */
  allowedFails: number | null
  /** The class when it is counted apart, else empty. */
  countedClass: string
  cooldownMs: number
  /** Of the key; 0: none. */
  pauseMs: number
}

/** Whose a deployment's state is. */
export function ownerOf(plan: Plan, deployment: PlanDeployment | undefined): string {
  return deployment?.owner_id ?? plan.owner_id
}

/**
 * LiteLLM's rules of 2026 with ours on top (docs/decisions/0008): what counts a class apart goes before what counts all, the
 * deployment's before the config's; nothing set means the ratio rule, and at once for 429 (unless it is alone), 401 and 404.
 */
export function cooldownRule(
  plan: Plan,
  deployment: PlanDeployment,
  failure: Failure,
  retryAfterMsMin = RETRY_AFTER_MS_MIN,
): CooldownRule {
  const { class: errorClass, status, isClientsMistake, groupSize } = failure
  const own = deployment.allowed_fails_policy?.[errorClass]
  const policy = own ?? plan.allowed_fails_policy?.[errorClass]
  const allowedFails = policy ?? deployment.allowed_fails ?? plan.allowed_fails
  // Asked for by name, a client's mistakes cool too; never the operator's deployments, which others call as well.
  const isAskedFor = own !== undefined && ownerOf(plan, deployment) !== OPERATOR
  const isRateLimit = errorClass === 'rate_limit' || status === 429
  const isDead = errorClass === 'authentication' || status === 401
  const isUnknown = errorClass === 'not_found' || status === 404
  return {
    mayCool: (!isClientsMistake || isAskedFor) && !plan.disable_cooldowns,
    isImmediate: allowedFails === null && ((isRateLimit && groupSize > 1) || isDead || isUnknown),
    allowedFails,
    countedClass: policy === undefined ? '' : `:${errorClass}`,
    ...durationsOf(plan, deployment, failure, { isRateLimit, retryAfterMsMin }),
  }
}

function durationsOf(
  plan: Plan,
  { cooldown_time_s: ownSeconds }: PlanDeployment,
  failure: Failure,
  { isRateLimit, retryAfterMsMin }: { isRateLimit: boolean; retryAfterMsMin: number },
): { cooldownMs: number; pauseMs: number } {
  const asked = failure.retryAfterMs ?? 0
  const retryAfterMs = asked > 0 ? Math.min(Math.max(asked, retryAfterMsMin), REST_MS_MAX) : null
  const defaultMs = plan.cooldown_time_s * 1000
  const cooldownMs = ownSeconds === null ? (retryAfterMs ?? defaultMs) : ownSeconds * 1000
  // A key always rests after a 429, also where cooldowns are off: more calls would only be refused.
  const pauseMs = isRateLimit ? (retryAfterMs ?? (defaultMs > 0 ? defaultMs : retryAfterMsMin)) : 0
  return { cooldownMs, pauseMs }
}
