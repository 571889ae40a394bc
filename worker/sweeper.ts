import type { Redis } from 'ioredis'
import type { Keys } from '../shared/keys.ts'
import type { Logger } from '../shared/log.ts'
import type { JobQueue } from '../shared/queues.ts'
import type { Settle, SettleResult, SettleSubject } from '../shared/settle.ts'
import type { Window } from '../shared/window.ts'
import type { Feed } from './feeder.ts'

// An entry is given this long to be claimed, or announced, by whoever made it, before the sweeper looks.
const GRACE_MS = 3_000
const CHORES_EVERY_MS = 1_000
const LEASE_FACTOR = 10
const AT_ONCE_MAX = 200
const FORGET_AT_ONCE_MAX = 500

/**
 * Mends what a dead process left behind, and wakes what waits for a time. Every worker runs one; a lease lets one at a
 * time work. All of it is safe to do twice.
 *
 * Each tick: parked jobs whose time has come, waiting jobs, webhook deliveries that are due. Each second: entries that
 * BullMQ does not have, claims whose lease ran out, deadlines, ended jobs that nobody announced, results whose time is over.
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
  /** Enqueues webhook deliveries whose time has come. */
  feedDeliveries: () => Promise<unknown>
  afterSettle: (subject: SettleSubject, result: SettleResult) => void
  log: Logger
  workerId: string
  tickMs: number
}) {
  const { redis, keys, window, queue, log } = deps
  let timer: NodeJS.Timeout | null = null
  let choresAt = 0
  let isClosed = false
  let ticking = Promise.resolve()

  async function tick(): Promise<void> {
    const leaseMs = Math.max(1_000, deps.tickMs * LEASE_FACTOR)
    if (!(await window.holdSweeper(deps.workerId, leaseMs))) return
    const { tenantsWaiting } = await window.wake()
    if (tenantsWaiting > 0) await deps.feed()
    await deps.feedDeliveries()
    if (performance.now() - choresAt < CHORES_EVERY_MS) return
    choresAt = performance.now()
    await mendEntries('fed', GRACE_MS)
    await mendEntries('leases', 0)
    await expire()
    await announceLeftOver()
    while ((await window.forget(FORGET_AT_ONCE_MAX)) === FORGET_AT_ONCE_MAX);
  }

  /** Jobs that are in the window but neither claimed nor in BullMQ: enqueued anew. */
  async function mendEntries(set: 'fed' | 'leases', ageMs: number): Promise<void> {
    for (const job of await window.overdue(set, ageMs, AT_ONCE_MAX)) {
      if (await queue.has(job)) continue
      const again = await window.refeed(job)
      if (!again) continue
      log.warn({ job_id: job.id }, 'A job had lost its queue entry and is enqueued again')
      await queue.add([again])
    }
  }

  /** Jobs whose deadline passed while nobody ran them. One that runs is stopped by its own worker. */
  async function expire(): Promise<void> {
    for (const id of await due(keys.deadlines, 0)) {
      const { result, subject } = await deps.settle.free(id, 'expired')
      if (result.kind === 'gone') await redis.zrem(keys.deadlines, id)
      else if (subject) deps.afterSettle(subject, result)
    }
  }

  async function announceLeftOver(): Promise<void> {
    for (const id of await due(keys.announce, GRACE_MS)) await deps.announce(id)
  }

  async function due(key: string, ageMs: number): Promise<string[]> {
    const [seconds = '0', microseconds = '0'] = (await redis.time()).map(String)
    const before = Number(seconds) * 1000 + Math.floor(Number(microseconds) / 1000) - ageMs
    return redis.zrangebyscore(key, '-inf', before, 'LIMIT', 0, AT_ONCE_MAX)
  }

  function schedule(): void {
    timer = setTimeout(() => {
      ticking = tick()
        .catch((error: unknown) =>
          log.warn({ err: error }, 'The sweeper could not do its round; trying again'),
        )
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

export type Sweeper = ReturnType<typeof createSweeper>
