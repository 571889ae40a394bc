import type { Redis } from 'ioredis'
import type { Keys } from '../keys.ts'
import { createScript } from '../scripts.ts'
import type { Metrics } from './registry.ts'

/** A worker that has not said for so long that it lives counts as gone: five beats, or what a health check allows. */
const SILENCE_MS = 15_000
/** How long a sign of progress is remembered. */
export const PROGRESS_KEPT_MS = 86_400_000
/** What a scrape may cost Redis is bounded: above so many owners in line their numbers are an estimate. */
const OWNERS_MAX = 64

/** What waits in one shard, and for how long, in milliseconds; null: nothing does. */
export type QueueState = {
  /** Since a worker last got ahead with anything; null: not within a day. */
  sinceProgressMs: number | null
  workers: number
  slots: number
  window: number
  parked: number
  announcements: number
  chunks: number
  parkedBatches: number
  linesInFlight: number
  targets: number
  deliveries: number
  /** For how long what should have happened has not: an entry that nobody claimed or renewed, one that was to be woken, ... */
  overdueMs: Record<'window' | 'parked' | 'announcements' | 'chunks' | 'targets', number | null>
  /** In line for the window: high, normal, low. */
  waiting: [number, number, number]
  oldestMs: [number | null, number | null, number | null]
  waitingBatches: number
  waitingLines: number
  oldestBatchMs: number | null
}

/** Reads what waits in a shard, in one round trip; changes nothing. */
export function createQueueReader(redis: Redis, keys: Keys, now: () => number | '' = () => '') {
  const measureQueues = createScript(redis, 'measure-queues')
  return async function read(): Promise<QueueState> {
    const [batches = '', , , batchOwners = '', batchWaiting = ''] = keys.batchPrefixes
    const reply = await measureQueues(
      [
        keys.tenants, keys.window, keys.parked, keys.announce, keys.batchTenants, keys.batchWindow, keys.batchParkedDue,
        keys.batchBusy, keys.targetsDue, keys.workers, keys.slots, keys.progress,
      ], // oxfmt-ignore
      [
        now(), SILENCE_MS, PROGRESS_KEPT_MS, OWNERS_MAX, keys.ownersPrefix, keys.waitingPrefix, keys.jobPrefix,
        batchOwners, batchWaiting, batches, keys.targetDue(''),
      ], // oxfmt-ignore
    )
    const figures = reply as number[] // see the script
    const count = (at: number) => figures[at] ?? 0
    const time = (at: number) => ((figures[at] ?? -1) < 0 ? null : count(at))
    return {
      sinceProgressMs: time(0),
      workers: count(1),
      slots: count(2),
      window: count(3),
      parked: count(5),
      announcements: count(7),
      chunks: count(9),
      parkedBatches: count(11),
      linesInFlight: count(12),
      targets: count(13),
      deliveries: count(15),
      overdueMs: {
        window: time(4),
        parked: time(6),
        announcements: time(8),
        chunks: time(10),
        targets: time(14),
      },
      waiting: [count(16), count(17), count(18)],
      oldestMs: [time(19), time(20), time(21)],
      waitingBatches: count(22),
      waitingLines: count(23),
      oldestBatchMs: time(24),
    }
  }
}

/**
 * For how long nothing has got ahead though it should have: an entry of the window is overdue, or jobs stand in line while
 * nothing at all runs. A call that takes long, full slots and tenants at their limits are none of that.
 */
export function progressAgeMs(state: QueueState): number {
  const { window, chunks } = state.overdueMs
  const isIdle = state.window + state.chunks === 0
  const inLine = isIdle ? [...state.oldestMs, state.oldestBatchMs] : []
  const stuckMs = Math.max(0, ...[window, chunks, ...inLine].map((age) => age ?? 0))
  return Math.min(stuckMs, state.sinceProgressMs ?? Number.POSITIVE_INFINITY)
}

const IN_LINE = ['high', 'normal', 'low'] as const

/** Shows what waits in all shards, read at each scrape. What can't be read is absent then. */
export function showQueues(metrics: Metrics, readers: readonly (() => Promise<QueueState>)[]): void {
  const depth = metrics.gauge('queue_depth', 'How much is where on its way.', ['kind', 'state'])
  const waiting = metrics.gauge('jobs_waiting', 'Jobs in line, by priority.', ['class'])
  const oldest = metrics.gauge(
    'oldest_waiting_seconds',
    'Age of the oldest job in line, by priority; 0: none waits.',
    ['class'],
  )
  const oldestBatch = metrics.gauge(
    'oldest_waiting_batch_seconds',
    'Since when the batch that has waited longest had no turn; 0: none waits.',
  )
  const overdue = metrics.gauge(
    'overdue_seconds',
    'For how long the most overdue of them should have gone on.',
    ['what'],
  )
  const progress = metrics.gauge(
    'progress_age_seconds',
    'For how long nothing got ahead though something should have; 0: all is well, or nothing is to be done.',
  )
  const workers = metrics.gauge('workers', 'Worker processes that say that they live.')
  const slots = metrics.gauge('workers_slots', 'Calls that all of them can have under way at once.')

  metrics.beforeScrape(async () => {
    for (const gauge of [depth, waiting, oldest, overdue]) gauge.reset()
    for (const gauge of [oldestBatch, progress, workers, slots]) gauge.remove()
    let states: QueueState[]
    try {
      states = await Promise.all(readers.map((read) => read()))
    } catch {
      // Redis is away: `byok_redis_up` says so.
      return
    }
    const sum = (of: (state: QueueState) => number) => states.reduce((total, state) => total + of(state), 0)
    const most = (of: (state: QueueState) => number | null) =>
      Math.max(...states.map((state) => of(state) ?? 0)) / 1_000
    const set = (kind: string, state: string, of: (state: QueueState) => number) =>
      depth.set({ kind, state }, sum(of))

    set('jobs', 'waiting', (one) => one.waiting[0] + one.waiting[1] + one.waiting[2])
    set('jobs', 'window', (one) => one.window)
    set('jobs', 'parked', (one) => one.parked)
    set('lines', 'waiting', (one) => one.waitingLines)
    set('lines', 'running', (one) => one.linesInFlight)
    set('batches', 'waiting', (one) => one.waitingBatches)
    set('batches', 'parked', (one) => one.parkedBatches)
    set('deliveries', 'waiting', (one) => one.deliveries)
    set('deliveries', 'unannounced', (one) => one.announcements)
    IN_LINE.forEach((name, at) => {
      waiting.set(
        { class: name },
        sum((one) => one.waiting[at] ?? 0),
      )
      oldest.set(
        { class: name },
        most((one) => one.oldestMs[at] ?? null),
      )
    })
    oldestBatch.set(most((one) => one.oldestBatchMs))
    for (const what of ['window', 'parked', 'announcements', 'chunks', 'targets'] as const) {
      overdue.set(
        { what },
        most((one) => one.overdueMs[what]),
      )
    }
    progress.set(most(progressAgeMs))
    // Each worker works for all shards.
    workers.set(Math.max(...states.map((one) => one.workers)))
    slots.set(Math.max(...states.map((one) => one.slots)))
  })
}
