import { setTimeout as delay } from 'node:timers/promises'
import type { Redis } from 'ioredis'
import type { Keys } from './keys.ts'
import type { ErrorClass } from './schemas/error-class.ts'
import type { Plan, PlanDeployment, Strategy } from './schemas/plan.ts'
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

/** A deployment that may be called; a lower tier is preferred, whatever the ranking says. */
export type Candidate = { deployment: PlanDeployment; tier: number }

/**
 * How the free candidates of one tier are ordered by what is known of them, the given order kept among equals.
 * busy: fewest calls in flight; tokens: fewest tokens used in the window; latency: mean seconds per output token,
 * never-used ones first; all within `buffer` (a fraction) above the lowest are equal, samples older than `ttlMs` forgotten.
 */
export type Ranking = { by: 'busy' | 'tokens' | 'latency'; buffer: number; ttlMs: number }

export type Tokens = { input: number; output: number }

/** Leave to make one call now. */
export type Grant = {
  deployment: PlanDeployment
  /** When it is counted, in milliseconds by Redis' clock; 0: nobody counts calls there, nothing was booked. */
  bookedAt: number
  isProbe: boolean
  /** As booked. */
  tokens: Tokens
  /** Under which name it holds a place in flight; null: it needs none. */
  holder: string | null
}

export type Reservation =
  | { kind: 'go'; grant: Grant }
  | {
      kind: 'wait'
      /** The one that is free first. */
      deployment: PlanDeployment
      /** When to ask again, in milliseconds by Redis' clock. */
      at: number
      why: 'cooldown' | 'limit' | 'busy'
      /** Busy only: among the next to be handed a place, so that it pays to wait for it in place. */
      isNext: boolean
      now: number
    }

/** One failed call, as cooldowns see it. */
export type Failure = {
  class: ErrorClass
  status: number | null
  /** Cools only where the deployment's own policy says so: the client's own mistake, or a refused address. */
  isClientsMistake: boolean
  retryAfterMs: number | null
  /** The call may have used tokens all the same. */
  isPossiblyBilled: boolean
  groupSize: number
  /** Of the deployment's group. */
  strategy: Strategy | null
}

/** One finished call. */
export type Success = {
  /** Null when the provider told none. */
  usage: { input_tokens: number; output_tokens: number; total_tokens: number } | null
  latencyMs: number
  /** What the provider's headers said: nothing is left for so long. */
  restMs: number | null
  /** Of the deployment's group. */
  strategy: Strategy | null
}

/** A deployment right now; times in milliseconds by Redis' clock, null when past or unknown. */
export type Standing = {
  id: string
  coolingUntil: number | null
  /** Its key rests after a 429. */
  pausedUntil: number | null
  /** Its provider said that nothing is left until then. */
  restsUntil: number | null
  /** In the window; counted only where a limit or a ranking needs it. */
  used: { requests: number; tokens: number; input_tokens: number; output_tokens: number }
  inFlight: number
  secondsPerToken: number | null
}

/**
 * Cooldowns, request and token limits of deployments: one state in Redis for all jobs and workers, in its owner's slot.
 * Every decision is one script; all limits, cooldowns and usage of an attempt cost one round trip.
 *
 * @param windowMs Length of the "minute" of rpm and tpm, and of the window in which failures are counted.
 */
export function createDeploymentState({
  redis,
  keys,
  windowMs,
}: {
  redis: Redis
  keys: Keys
  windowMs: number
  leaseMs: number
  wakeOthers: (ids: readonly string[]) => Promise<string[]>
}) {
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
    plan: Plan,
    ranked: readonly Candidate[],
    request: {
      holder: string
      tokens: Tokens
      slot: { id: string; at: number } | null
      keepsPlace: boolean
      ranking: Ranking | null
    },
  ): Promise<Reservation> {
    const candidates = ranked.map(({ deployment }) => deployment)
    const ownerId = candidates[0]?.owner_id ?? plan.owner_id
    const stateKeys = candidates.flatMap(({ id, key_id }) => [
      keys.deployment(ownerId, id),
      keys.credentialPause(ownerId, key_id),
      keys.requestLog(ownerId, id),
      keys.tokenLog(ownerId, id),
    ])
    const { slot } = request
    const tokens = request.tokens.input + request.tokens.output
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
      const tokensBooked = { input: booked, output: 0 }
      return {
        kind: 'go',
        grant: { deployment, bookedAt: third, isProbe: fourth === 1, tokens: tokensBooked, holder: null },
      }
    }
    return {
      kind: 'wait',
      deployment,
      at: third,
      why: String(fourth) as 'cooldown' | 'limit',
      isNext: false,
      now: fifth,
    }
  }

  /** Counts a failed call; cools the deployment, and pauses its key after a 429, when the rules say so. */
  async function fail(plan: Plan, grant: Grant, failure: Failure): Promise<void> {
    const { deployment, isProbe } = grant
    // No answer, no tokens; where one may have been lost on its way the estimate stands.
    if (!failure.isPossiblyBilled && grant.tokens.input > 0)
      void adjust(plan, grant, -grant.tokens.input).noted.promise.catch(() => undefined)
    const ownerId = deployment.owner_id ?? plan.owner_id
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
  async function succeed(plan: Plan, grant: Grant, success: Success): Promise<void> {
    const tokensUsed = success.usage?.total_tokens ?? null
    const { deployment, isProbe } = grant
    const surplus = deployment.tpm === null || tokensUsed === null ? 0 : tokensUsed - grant.tokens.input
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
    const failure: Failure = {
      class: 'api_error',
      strategy: null,
      status: null,
      isClientsMistake: true,
      retryAfterMs: null,
      isPossiblyBilled: true,
      groupSize: 1,
    }
    await fail(plan, grant, failure)
  }

  /** Corrects what was booked in tokens, where it was booked. */
  function adjust(plan: Plan, { deployment, bookedAt }: Grant, surplus: number): Batch {
    const ownerId = deployment.owner_id ?? plan.owner_id
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

  /** Resolves when `holder` is handed a place, or after `waitMs`, or on abort. */
  async function waitTurn(_holder: string, waitMs: number, signal: AbortSignal): Promise<void> {
    await delay(waitMs, undefined, { signal }).catch(() => undefined)
  }

  /** `holder` was handed a place by another process. */
  function wake(_holder: string): void {}

  /** How deployments stand; changes nothing. */
  async function read(_ownerId: string, _deployments: readonly PlanDeployment[]): Promise<Standing[]> {
    return []
  }

  /** Starts the clock that keeps leases. */
  function start(): void {}

  function close(): void {}

  return { reserve, fail, succeed, release, waitTurn, wake, read, start, flush, close }
}

export type DeploymentState = ReturnType<typeof createDeploymentState>

function flag(value: boolean): '1' | '0' {
  return value ? '1' : '0'
}
