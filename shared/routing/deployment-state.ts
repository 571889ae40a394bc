import type { Redis } from 'ioredis'
import { cooldownRule, ownerOf } from './cooldown-rule.ts'
import { createLeases } from './deployment-leases.ts'
import { createReserve } from './deployment-reserve.ts'
import { createStandings } from './deployment-standing.ts'
import { createUsageNotes, samplesOf } from './deployment-usage.ts'
import type { Keys } from '../keys.ts'
import type { ErrorClass } from '../schemas/error-class.ts'
import type { Plan, PlanDeployment, Strategy } from '../schemas/plan.ts'
import { createScript } from '../scripts.ts'

// How slow a deployment that timed out is taken to be: LiteLLM's figure.
const TIMEOUT_SECONDS_PER_TOKEN = 1_000

/** A time in milliseconds, or '' for Redis' own. */
export type Clock = () => number | ''

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
  /** By `performance.now()`: a call begun later reaches its provider in another window than it is counted in. Absent: not counted. */
  freshUntil?: number
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
  /** Counted only where a limit or a ranking needs it. */
  inFlight: number
  secondsPerToken: number | null
}

/**
 * Cooldowns, limits, calls in flight and usage of deployments: one state in Redis for all jobs and workers, in the owner's
 * slot. Every decision is one script; an attempt costs one round trip for all of it.
 *
 * @param deps.windowMs Length of the "minute" of rpm and tpm, and of the window in which failures are counted.
 * @param deps.leaseMs For how long a place in flight is held without a word from its process.
 * @param deps.retryAfterMsMin Shortest rest of a key after a 429; a second when absent.
 * @param deps.now Milliseconds; a clock that tests hold still. Redis's own when absent.
 * @param deps.wakeOthers Wakes jobs that were handed a place, wherever they wait; answers the ids of those that have ended.
 */
export function createDeploymentState(deps: {
  redis: Redis
  keys: Keys
  windowMs: number
  leaseMs: number
  retryAfterMsMin?: number
  wakeOthers: (ids: readonly string[]) => Promise<string[]>
  now?: Clock
}) {
  const { redis, keys, windowMs, now = () => '' } = deps
  const noteFailure = createScript(redis, 'note-failure')
  const leases = createLeases({ ...deps, now })
  const reserve = createReserve({ ...deps, now }, leases)
  const usage = createUsageNotes({ redis, keys, windowMs, now })
  const read = createStandings({ redis, keys, windowMs, now })

  /**
   * Counts a failed call; cools the deployment, and pauses its key after a 429, when the rules say so.
   * @returns for how long it cools; 0: it does not.
   */
  async function fail(plan: Plan, grant: Grant, failure: Failure): Promise<{ coolsMs: number }> {
    const { deployment, isProbe } = grant
    const ownerId = ownerOf(plan, deployment)
    freePlace(ownerId, grant)
    // No answer, no tokens; where one may have been lost on its way the estimate stands.
    if (!failure.isPossiblyBilled) usage.giveBack(ownerId, grant)
    const rule = cooldownRule(plan, deployment, failure, deps.retryAfterMsMin)
    const kept = failure.class === 'timeout' ? samplesOf(failure.strategy) : null
    const reply = await noteFailure(
      [keys.deployment(ownerId, deployment.id), keys.credentialPause(ownerId, deployment.key_id)],
      [
        now(),
        windowMs,
        flag(rule.mayCool),
        flag(rule.isImmediate),
        rule.allowedFails ?? '',
        rule.cooldownMs,
        rule.pauseMs,
        flag(failure.groupSize > 1),
        flag(isProbe),
        rule.countedClass,
        ...(kept ? [kept.samplesMax, kept.samplesTtlMs, TIMEOUT_SECONDS_PER_TOKEN] : []),
      ],
    )
    const [coolsUntil, , at] = reply as [number, number, number] // see the script
    return { coolsMs: Math.max(0, coolsUntil - at) }
  }

  /**
   * Counts a finished call, settles its token estimate, and notes what it taught. What happens within 20 ms on one deployment
   * is noted together; resolves when it is. Its place in flight is given back at once.
   */
  async function succeed(plan: Plan, grant: Grant, success: Success): Promise<void> {
    const { deployment } = grant
    const ownerId = ownerOf(plan, deployment)
    freePlace(ownerId, grant)
    const countsForRatio =
      plan.allowed_fails === null && deployment.allowed_fails === null && !plan.disable_cooldowns
    await usage.note(ownerId, grant, success, countsForRatio)
  }

  /** Gives back a grant that came to nothing: its place in flight, and that of the probe. The call may have been made. */
  async function release(plan: Plan, grant: Grant): Promise<void> {
    if (!grant.isProbe) return freePlace(ownerOf(plan, grant.deployment), grant)
    await fail(plan, grant, CAME_TO_NOTHING)
  }

  function freePlace(ownerId: string, { deployment, holder }: Grant): void {
    if (holder !== null) leases.free(ownerId, deployment.id, holder)
  }

  return {
    reserve,
    fail,
    succeed,
    release,
    /** Resolves when the job is handed a place, or after `waitMs`, or on abort. */
    waitTurn: leases.waitTurn,
    /** The job was handed a place, as another process says. */
    wake: leases.wake,
    /** The job was put back while it stood in line: a word that came on the way is passed on. */
    noteParked: leases.noteParked,
    /** How deployments of one owner stand; changes nothing. */
    read,
    /** Starts the clock that keeps the leases of calls in flight. */
    start: leases.start,
    /** Tells Redis at once what it is still to be told. */
    flush() {
      leases.flush()
      usage.flush()
    },
    close: leases.close,
  }
}

export type DeploymentState = ReturnType<typeof createDeploymentState>

const CAME_TO_NOTHING: Failure = {
  class: 'api_error',
  status: null,
  isClientsMistake: true,
  retryAfterMs: null,
  isPossiblyBilled: true,
  groupSize: 1,
  strategy: null,
}

function flag(value: boolean): '1' | '0' {
  return value ? '1' : '0'
}
