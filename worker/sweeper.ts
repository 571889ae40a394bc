import type { Redis } from 'ioredis'
import type { Deliveries } from '../shared/webhooks/deliveries.ts'
import type { Keys } from '../shared/keys.ts'
import type { Logger } from '../shared/log.ts'
import type { JobQueue } from '../shared/jobs/queues.ts'
import { nodesOf, redisNowMs } from '../shared/redis.ts'
import type { Settle, SettleResult, SettleSubject } from '../shared/jobs/settle.ts'
import type { Window } from '../shared/jobs/window.ts'
import type { BatchChores } from './batch-chores.ts'
import type { Feed } from './feeder.ts'

// An end is given this long to be announced by whoever settled it.
const ANNOUNCE_GRACE_MS = 500
const CHORES_EVERY_MS = 500
const LEASE_FACTOR = 10
const AT_ONCE_MAX = 200
const FORGET_ROUNDS_MAX = 5

/**
 * Mends what a dead process left behind, and wakes what waits for a time. Every worker runs one; a lease lets one at a
 * time work. All of it is safe to do twice.
 *
 * Each tick: parked jobs whose time has come, waiting jobs, webhook deliveries that are due. Twice a second: entries that
 * BullMQ does not have, claims whose lease ran out, deadlines, ended jobs that nobody announced, results whose time is over. Each hour: the rewrite of Redis' file.
 */
export function createSweeper(deps: {
  redis: Redis
  keys: Keys
  window: Window
  queue: JobQueue
  settle: Settle
  feed: Feed
  /** Announces an ended job; does nothing when that was done. */
  announce: (jobId: string) => Promise<void>
  deliveries: Pick<Deliveries, 'feedDue' | 'forgetDue'>
  /** What there is to do for batches, at each tick and twice a second. */
  batches: BatchChores
  /** What tenants keep no longer goes, and what they have used is summed up, twice a second. */
  ofTenants: (() => Promise<void>)[]
  /** Cancels jobs whose callers left, twice a second. */
  cancelLeft: () => Promise<void>
  afterSettle: (subject: SettleSubject, result: SettleResult) => void
  log: Logger
  workerId: string
  tickMs: number
  /** How often Redis is made to rewrite its append-only file, so that what was erased is gone from it too. */
  aofRewriteMs: number
}) {
  const { redis, keys, window, queue, log } = deps
  const { often, seldom } = deps.batches
  let timer: NodeJS.Timeout | null = null
  let choresAt = 0
  let isClosed = false
  let isFailing = false
  let ticking = Promise.resolve()

  async function tick(): Promise<void> {
    const leaseMs = Math.max(1_000, deps.tickMs * LEASE_FACTOR)
    if (!(await window.holdSweeper(deps.workerId, leaseMs))) return
    // Forgetting comes first and each chore stands alone: a Redis that is full refuses the others, and this makes room.
    const chores = isChoreTime()
      ? [
          lookAtDue,
          forgetDeliveries,
          ...deps.ofTenants,
          ...seldom,
          feedWaiting,
          ...often,
          feedDeliveries,
          mendEntries,
          deps.cancelLeft,
          announceLeftOver,
          rewriteLog,
        ]
      : [feedWaiting, ...often, feedDeliveries]
    const failures: unknown[] = []
    for (const chore of chores) await chore().catch((error: unknown) => failures.push(error))
    if (failures.length > 0) throw failures[0]
  }

  function isChoreTime(): boolean {
    const isTime = performance.now() - choresAt >= CHORES_EVERY_MS
    if (isTime) choresAt = performance.now()
    return isTime
  }

  async function feedWaiting(): Promise<void> {
    const { tenantsWaiting } = await window.wake()
    if (tenantsWaiting > 0) await deps.feed()
  }

  async function feedDeliveries(): Promise<void> {
    await deps.deliveries.feedDue()
  }

  /** Deliveries to give up, and those whose time is over: a few hundred a round, for whatever their number others wait. */
  async function forgetDeliveries(): Promise<void> {
    for (let round = 0; round < FORGET_ROUNDS_MAX; round += 1) {
      if (!(await deps.deliveries.forgetDue())) return
    }
  }

  /** Jobs of the window that are neither claimed nor in BullMQ: enqueued anew. */
  async function mendEntries(): Promise<void> {
    for (const job of await window.overdue(AT_ONCE_MAX)) {
      if (await queue.has(job)) continue
      const again = await window.refeed(job)
      if (!again) continue
      log.warn({ job_id: job.id }, 'A job had lost its queue entry and is enqueued again')
      await queue.add([again])
    }
  }

  /** Deadlines that passed while nobody ran the job (one that runs is stopped by its worker), and records to forget. */
  async function lookAtDue(): Promise<void> {
    for (;;) {
      const jobs = await window.due(AT_ONCE_MAX)
      const done = await Promise.all(
        jobs.map((job) => (job.isTerminal ? window.forget(job.id, job.tenant) : expire(job.id))),
      )
      if (jobs.length < AT_ONCE_MAX || !done.includes(true)) return
    }
  }

  async function expire(id: string): Promise<boolean> {
    const { result, subject } = await deps.settle.free(id, 'expired')
    if (subject) deps.afterSettle(subject, result)
    return result.kind === 'settled'
  }

  async function announceLeftOver(): Promise<void> {
    const before = (await redisNowMs(redis)) - ANNOUNCE_GRACE_MS
    const ids = await redis.zrangebyscore(keys.announce, '-inf', before, 'LIMIT', 0, AT_ONCE_MAX)
    for (const id of ids) await deps.announce(id)
  }

  /** An interval after the last one, whichever worker sweeps then; a start is none. */
  async function rewriteLog(): Promise<void> {
    const now = await redisNowMs(redis)
    const last = Number(await redis.get(keys.aofRewrite))
    if (last > 0 && now - last < deps.aofRewriteMs) return
    await redis.set(keys.aofRewrite, now)
    // Managed servers may forbid it, and one without an append-only file has nothing to rewrite.
    if (last > 0) await Promise.allSettled(nodesOf(redis).map((node) => node.bgrewriteaof()))
  }

  // One line an outage: a round comes several times a second.
  function noteFailure(error: unknown): void {
    if (!isFailing) log.warn({ err: error }, 'The sweeper could not do its round; trying until it can')
    isFailing = true
  }

  function noteSuccess(): void {
    isFailing = false
  }

  function schedule(): void {
    timer = setTimeout(() => {
      ticking = tick()
        .then(noteSuccess, noteFailure)
        .finally(() => {
          if (!isClosed) schedule()
        })
    }, deps.tickMs)
  }

  return {
    start: schedule,
    async close(): Promise<void> {
      isClosed = true
      if (timer) clearTimeout(timer)
      await ticking
    },
  }
}
