import type { Redis } from 'ioredis'
import type { Keys } from './keys.ts'
import type { Plan, PlanDeployment } from './schemas/plan.ts'
import { createScript, type ScriptArgument } from './scripts.ts'

// A probe that is never heard of again (its worker died) stops counting as one after this long.
const PROBE_MS = 60_000
// LiteLLM takes any Retry-After; an hour is as long as a mistaken header may park a key.
const RETRY_AFTER_MS_MAX = 3_600_000
const RETRY_AFTER_MS_MIN = 1_000

// Successes change no decision at once, so those of many jobs are told to Redis together.
const NOTE_WITHIN_MS = 20

/** Successes of one deployment that Redis is still to be told. */
type Batch = {
  keys: string[]
  successes: number
  /** Sixtieth of the window in which tokens were reserved -> how many more were used. */
  surpluses: Map<number, number>
  hasProbe: boolean
  noted: PromiseWithResolvers<void>
}

/** Leave to make one call now; `bookedAt`: when it is counted, in milliseconds by Redis' clock. */
export type Grant = { deployment: PlanDeployment; bookedAt: number; isProbe: boolean; tokens: number }

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
  /** The call may have used tokens all the same. */
  isPossiblyBilled: boolean
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
  const pending = new Map<string, Batch>()
  let timer: NodeJS.Timeout | null = null

  /**
   * Takes the first of `candidates` (in order of preference, at least one) that is free now.
   * @param request.slot A deployment that already holds a place for this job, and when.
   * @param request.keepsPlace When nothing is free, keep a place at the first that will be.
   */
  async function reserve(
    ownerId: string,
    candidates: readonly PlanDeployment[],
    request: { tokens: number; slot: { id: string; at: number } | null; keepsPlace: boolean },
  ): Promise<Reservation> {
    const stateKeys = candidates.flatMap(({ id, key_id }) => [
      keys.deployment(ownerId, id),
      keys.credentialPause(ownerId, key_id),
      keys.requestLog(ownerId, id),
      keys.tokenLog(ownerId, id),
    ])
    const { slot, tokens } = request
    const held = candidates.findIndex(({ id }) => id === slot?.id) + 1
    const limits = candidates.flatMap(({ rpm, tpm }) => [rpm ?? 0, tpm ?? 0])
    const args: ScriptArgument[] = [
      '',
      windowMs,
      tokens,
      PROBE_MS,
      held,
      slot?.at ?? 0,
      flag(request.keepsPlace),
    ]
    const reply = await reserveDeployment(stateKeys, [...args, ...limits])
    const [kind, index, third, fourth, fifth] = reply as [Buffer, number, number, number | Buffer, number] // see the script
    const deployment = candidates[index - 1]
    if (!deployment) throw new Error('reserve-deployment named a candidate that is not there')
    if (kind.toString() === 'go') {
      const booked = Math.min(tokens, deployment.tpm ?? 0)
      return { kind: 'go', grant: { deployment, bookedAt: third, isProbe: fourth === 1, tokens: booked } }
    }
    return { kind: 'wait', deployment, at: third, why: String(fourth) as 'cooldown' | 'limit', now: fifth }
  }

  /** Counts a failed call; cools the deployment, and pauses its key after a 429, when the rules say so. */
  async function fail(plan: Plan, grant: Grant, failure: Failure): Promise<void> {
    const { deployment, isProbe } = grant
    // No answer, no tokens; where one may have been lost on its way the estimate stands.
    if (!failure.isPossiblyBilled && grant.tokens > 0)
      void adjust(plan, grant, -grant.tokens).noted.promise.catch(() => undefined)
    const { owner_id: ownerId } = plan
    const allowedFails = deployment.allowed_fails ?? plan.allowed_fails
    const ownSeconds = deployment.cooldown_time_s
    // Below a second it would be a hot loop: these waits end at the deadline only.
    const asked = failure.retryAfterMs ?? 0
    const retryAfterMs = asked > 0 ? Math.min(Math.max(asked, RETRY_AFTER_MS_MIN), RETRY_AFTER_MS_MAX) : null
    const defaultMs = plan.cooldown_time_s * 1000
    const cooldownMs = ownSeconds === null ? (retryAfterMs ?? defaultMs) : ownSeconds * 1000
    const isRateLimit = failure.status === 429
    // A key always rests after a 429, also where cooldowns are off: more calls would only be refused.
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
        pauseMs,
        flag(failure.groupSize > 1),
        flag(isProbe),
      ],
    )
  }

  /**
   * Counts a finished call and settles its token estimate with real usage (null when the provider gave none). What
   * happens within 20 ms on one deployment is noted together; resolves when it is.
   */
  async function succeed(plan: Plan, grant: Grant, tokensUsed: number | null): Promise<void> {
    const { deployment, isProbe } = grant
    const surplus = deployment.tpm === null || tokensUsed === null ? 0 : tokensUsed - grant.tokens
    const countsForRatio =
      plan.allowed_fails === null && deployment.allowed_fails === null && !plan.disable_cooldowns
    if (surplus === 0 && !countsForRatio && !isProbe) return
    const batch = adjust(plan, grant, surplus)
    if (countsForRatio) batch.successes += 1
    if (isProbe) {
      // Others wait for this one.
      batch.hasProbe = true
      flush()
    }
    return batch.noted.promise
  }

  /** Gives back a grant that came to nothing: its tokens, and the place of the probe. The call may have been made. */
  async function release(plan: Plan, grant: Grant): Promise<void> {
    if (!grant.isProbe) return
    const failure = {
      status: null,
      isClientsMistake: true,
      retryAfterMs: null,
      isPossiblyBilled: true,
      groupSize: 1,
    }
    await fail(plan, grant, failure)
  }

  /** Corrects what was booked in tokens, where it was booked. */
  function adjust({ owner_id: ownerId }: Plan, { deployment, bookedAt }: Grant, surplus: number): Batch {
    const batch = batchOf(ownerId, deployment)
    const part = Math.floor(bookedAt / Math.ceil(windowMs / 60))
    if (surplus !== 0) batch.surpluses.set(part, (batch.surpluses.get(part) ?? 0) + surplus)
    return batch
  }

  function batchOf(ownerId: string, { id, key_id }: PlanDeployment): Batch {
    const stateKey = keys.deployment(ownerId, id)
    const known = pending.get(stateKey)
    if (known) return known
    const batchKeys = [stateKey, keys.credentialPause(ownerId, key_id), keys.tokenLog(ownerId, id)]
    const noted = Promise.withResolvers<void>()
    const batch: Batch = { keys: batchKeys, successes: 0, surpluses: new Map(), hasProbe: false, noted }
    pending.set(stateKey, batch)
    timer ??= setTimeout(flush, NOTE_WITHIN_MS)
    return batch
  }

  /** Notes at once what is still to be noted. */
  function flush(): void {
    if (timer) clearTimeout(timer)
    timer = null
    const batches = [...pending.values()]
    pending.clear()
    for (const { keys: batchKeys, successes, surpluses, hasProbe, noted } of batches) {
      const args = ['', windowMs, successes, flag(hasProbe), ...[...surpluses].flat()]
      noteSuccess(batchKeys, args).then(() => noted.resolve(), noted.reject)
    }
  }

  return { reserve, fail, succeed, release, flush }
}

export type DeploymentState = ReturnType<typeof createDeploymentState>

function flag(value: boolean): '1' | '0' {
  return value ? '1' : '0'
}
