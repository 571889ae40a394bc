import type { DeliveryTarget } from './delivery-record.ts'
import type { SentDelivery } from './delivery-queue.ts'
import type { Ids } from '../ids.ts'
import type { Keys } from '../keys.ts'

const LOOK_AGAIN_MS = 10_000
// An accepted job's record is kept at least this long, also with `result_ttl: 0`: who waits for it is about to read it. (Unless nothing is.)
const ACCEPTED_KEPT_MS_MIN = 60_000
// Longer than anything that is counted of a target.
const TARGET_TTL_MS = 30 * 86_400_000
const DAY_MS = 86_400_000

/** Times of deliveries, in milliseconds. All processes of an installation have the same. */
export type DeliveryTimes = {
  /** How long a record is kept after its end. */
  retentionMs: number
  /** How long the event is kept that a delivery sends. */
  eventRetentionMs: number
  /** How long a job is kept while a delivery of it is still tried. */
  jobRetentionMs: number
  /** For how long a target is left alone that failed five times in a row, for a start. */
  breakerMs: number
  /** After how long the rate doubles with which a target is sent to after it failed. */
  rampMs: number
  /** Waits before each try, in seconds; their number is how many there are. */
  scheduleSeconds: readonly number[]
  /** How long one try may take. */
  timeoutMs: number
  /** After how long another worker may take a try. */
  leaseMs?: number | undefined
  /** After how long an entry that no worker took is made anew. */
  lookAgainMs?: number | undefined
}

/** What all scripts of deliveries are told: prefixes of keys, and times. One text, made once. */
export function deliverySettings(keys: Keys, times: DeliveryTimes): string {
  return JSON.stringify({
    delivery: keys.delivery(''),
    target: keys.target(''),
    flight: keys.targetFlight(''),
    due: keys.targetDue(''),
    endpoint: keys.endpoint(''),
    job: keys.job(''),
    targets_due: keys.targetsDue,
    deliveries_due: keys.deliveriesDue,
    jobs_due: keys.due,
    channel: keys.settledChannel,
    look: times.lookAgainMs ?? LOOK_AGAIN_MS,
    breaker: times.breakerMs,
    ramp: times.rampMs,
    target_ttl: TARGET_TTL_MS,
    retention: times.retentionMs,
    job_retention: times.jobRetentionMs,
    kept: Math.min(ACCEPTED_KEPT_MS_MIN, times.jobRetentionMs),
  })
}

/**
 * After how long a delivery is given up whatever its tries: a target that fails is sent one at a time, so thousands that
 * wait for it may never come to their last.
 */
export function lifetimeMs({ scheduleSeconds }: Pick<DeliveryTimes, 'scheduleSeconds'>): number {
  return Math.max(2_000 * scheduleSeconds.reduce((sum, seconds) => sum + seconds, 0), DAY_MS)
}

/** Where deliveries go, as one: an endpoint, or the URL of jobs' own webhooks of one tenant. */
export function targetId(ids: Ids, tenant: string, target: DeliveryTarget): string {
  return target.kind === 'endpoint' ? target.id : `url_${ids.fingerprint('target', tenant, target.hook.url)}`
}

/** Whether a target's id is that of an endpoint. */
export function isEndpointTarget(id: string): boolean {
  return !id.startsWith('url_')
}

/** Reads what the scripts that send deliveries off answer. */
export function parseSent(reply: readonly unknown[]): SentDelivery[] {
  return (reply as [Buffer, number, Buffer, Buffer][]).map(([id, number, tenant, target]) => ({
    deliveryId: id.toString(),
    number,
    tenant: tenant.toString(),
    targetId: target.toString(),
  })) // see feed-target.lua
}
