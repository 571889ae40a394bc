import type { Redis } from 'ioredis'
import type { Keys } from './keys.ts'
import type { Plan, PlanDeployment } from './schemas/plan.ts'
import { createScript, type ScriptArgument } from './scripts.ts'

// A probe that is never heard of again (its worker died) stops counting as one after this long.
const PROBE_MS = 60_000
// LiteLLM takes any Retry-After; an hour is as long as a mistaken header may park a key (routing.md 13).
const RETRY_AFTER_MS_MAX = 3_600_000

/** Leave to make one call now. */
export type Grant = { deployment: PlanDeployment; grantedAt: number; isProbe: boolean; tokens: number }

export type Reservation =
  | { kind: 'go'; grant: Grant }
  /** Nothing is free before `at` (ms, Redis' clock): the deployment that is first. */
  | { kind: 'wait'; deployment: PlanDeployment; at: number; why: 'cooldown' | 'limit'; now: number }

/** One failed call, as cooldowns see it. */
export type Failure = {
  status: number | null
  /** Never cools: the client's own mistake, or a refused address. */
  isClientsMistake: boolean
  retryAfterMs: number | null
  groupSize: number
}

/**
 * Cooldowns, request and token limits of deployments: one state in Redis for all jobs and workers, in its owner's slot.
 * Every decision is one script; all limits, cooldowns and usage of an attempt cost one round trip.
 *
 * @param windowMs Length of the "minute" of rpm and tpm, and of the window in which failures are counted.
 */
export function createDeploymentState(redis: Redis, keys: Keys, windowMs: number) {
  const reserveDeployment = createScript(redis, 'reserve-deployment')
  const noteFailure = createScript(redis, 'note-failure')
  const noteSuccess = createScript(redis, 'note-success')

  /**
   * Takes the first of `candidates` (in order of preference, at least one) that is free now.
   * @param request.member Names this call in the logs: unique per job and attempt.
   * @param request.slot Id of a deployment that already holds a place for this job.
   * @param request.keepsPlace When nothing is free, keep a place at the first that will be.
   */
  async function reserve(
    ownerId: string,
    candidates: readonly PlanDeployment[],
    request: { member: string; tokens: number; slot: string | null; keepsPlace: boolean },
  ): Promise<Reservation> {
    const stateKeys = candidates.flatMap(({ id, key_id }) => [
      keys.deployment(ownerId, id),
      keys.credentialPause(ownerId, key_id),
      keys.requestLog(ownerId, id),
      keys.tokenLog(ownerId, id),
    ])
    const held = candidates.findIndex(({ id }) => id === request.slot) + 1
    const limits = candidates.flatMap(({ rpm, tpm }) => [rpm ?? 0, tpm ?? 0])
    const args: ScriptArgument[] = ['', windowMs, request.member, request.tokens, PROBE_MS, held]
    const reply = await reserveDeployment(stateKeys, [...args, request.keepsPlace ? '1' : '0', ...limits])
    const [kind, index, third, fourth, fifth] = reply as [Buffer, number, number, number | Buffer, number] // see the script
    const deployment = candidates[index - 1]
    if (!deployment) throw new Error('reserve-deployment named a candidate that is not there')
    if (kind.toString() === 'go') {
      return {
        kind: 'go',
        grant: { deployment, grantedAt: third, isProbe: fourth === 1, tokens: request.tokens },
      }
    }
    return { kind: 'wait', deployment, at: third, why: String(fourth) as 'cooldown' | 'limit', now: fifth }
  }

  /** Counts a failed call; cools the deployment, and pauses its key after a 429, when the rules say so. */
  async function fail(plan: Plan, { deployment, isProbe }: Grant, failure: Failure): Promise<void> {
    const { owner_id: ownerId } = plan
    const allowedFails = deployment.allowed_fails ?? plan.allowed_fails
    const ownSeconds = deployment.cooldown_time_s
    const retryAfterMs =
      failure.retryAfterMs === null ? null : Math.min(failure.retryAfterMs, RETRY_AFTER_MS_MAX)
    const defaultMs = plan.cooldown_time_s * 1000
    const cooldownMs = ownSeconds === null ? (retryAfterMs ?? defaultMs) : ownSeconds * 1000
    const isRateLimit = failure.status === 429
    // A key always rests after a 429, also where cooldowns are off: more calls would only be refused (ruling 2).
    const pauseMs = isRateLimit ? (retryAfterMs ?? (defaultMs > 0 ? defaultMs : 1000)) : 0
    const isImmediate =
      (isRateLimit && failure.groupSize > 1) || failure.status === 401 || failure.status === 404
    await noteFailure(
      [keys.deployment(ownerId, deployment.id), keys.credentialPause(ownerId, deployment.key_id)],
      [
        '',
        windowMs,
        flag(!failure.isClientsMistake && !plan.disable_cooldowns),
        flag(isImmediate && allowedFails === null),
        allowedFails ?? '',
        cooldownMs,
        Math.ceil(pauseMs),
        flag(failure.groupSize > 1),
        flag(isProbe),
      ],
    )
  }

  /** Counts a finished call and settles its token estimate with real usage (null when the provider gave none). */
  async function succeed(plan: Plan, grant: Grant, tokensUsed: number | null): Promise<void> {
    const { deployment } = grant
    const surplus = deployment.tpm === null || tokensUsed === null ? 0 : tokensUsed - grant.tokens
    const countsForRatio =
      plan.allowed_fails === null && deployment.allowed_fails === null && !plan.disable_cooldowns
    if (surplus === 0 && !countsForRatio && !grant.isProbe) return
    await noteSuccess(
      [
        keys.deployment(plan.owner_id, deployment.id),
        keys.credentialPause(plan.owner_id, deployment.key_id),
        keys.tokenLog(plan.owner_id, deployment.id),
      ],
      ['', windowMs, flag(countsForRatio), flag(grant.isProbe), grant.grantedAt, surplus],
    )
  }

  return { reserve, fail, succeed }
}

export type DeploymentState = ReturnType<typeof createDeploymentState>

function flag(value: boolean): '1' | '0' {
  return value ? '1' : '0'
}
