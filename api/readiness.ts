import type { Redis } from 'ioredis'
import { BATCHES_QUEUE } from '../shared/batches/batch-queue.ts'
import { JOBS_QUEUE } from '../shared/jobs/queues.ts'
import type { Keys } from '../shared/keys.ts'
import type { Logger } from '../shared/log.ts'
import { PROGRESS_KEPT_MS } from '../shared/metrics/queue-metrics.ts'
import { isRedisOutage } from '../shared/redis-check.ts'
import { createScript } from '../shared/scripts.ts'
import { WEBHOOKS_QUEUE } from '../shared/webhooks/delivery-queue.ts'

const LOOKS_A_STALL = 10
const EVERY_MS_MIN = 100
const QUEUES = [JOBS_QUEUE, BATCHES_QUEUE, WEBHOOKS_QUEUE] as const

/** Why work does not get ahead, in words that name no one. */
export type NotReady =
  | 'redis_unreachable'
  /** Something waits, and no worker lives. */
  | 'no_workers'
  /** Something waits, and no worker lets it in, wakes what is due or mends what broke. */
  | 'no_sweeper'
  /** Jobs wait although slots are free. */
  | 'jobs_not_let_in'
  /** The next entry of a queue stays where it is although slots are free. */
  | 'jobs_not_taken'
  | 'batches_not_taken'
  | 'webhooks_not_taken'
  /** What is in Redis is not what the gateway put there; the log says more. */
  | 'queues_unreadable'

/** What holds now and would be wrong if it went on: what it is, and of which entry. */
type Sign = { reason: NotReady; of: string }

/**
 * Looks whether what waits gets ahead (docs/decisions/0025). Red is what has been wrong without a change for `stallMs`: that all
 * slots are taken, that providers take their time, that jobs wait for a limit or a time is none of it. While Redis is away
 * nothing can be told of queues, and afterwards they begin anew.
 */
export function createReadiness(deps: {
  redis: Redis
  /** Of each shard. */
  shards: readonly Keys[]
  stallMs: number
  /** How long one delivery may take: so long the next one may have to wait. */
  deliveryMs: number
  log: Logger
}) {
  const { redis, shards, stallMs, log } = deps
  const everyMs = Math.max(EVERY_MS_MIN, stallMs / LOOKS_A_STALL)
  const lookAtQueues = createScript(redis, 'look-at-queues')
  /** When each sign was first seen. */
  let since = new Map<string, { reason: NotReady; atMs: number }>()
  let told = ''
  let timer: NodeJS.Timeout | null = null
  let isClosed = false

  async function look(): Promise<void> {
    const found = await Promise.all(shards.map((keys) => standingOf(keys).catch(unreadable)))
    const nowMs = performance.now()
    // Workers have the same slots for all shards.
    const underWay = found.reduce((sum, standing) => sum + (standing?.underWay ?? 0), 0)
    const signs = found.flatMap((standing, shard) =>
      signsOf(standing, underWay).map(({ reason, of }) => [`${shard} ${reason} ${of}`, reason] as const),
    )
    since = new Map(
      signs.map(([key, reason]) => [key, { reason, atMs: since.get(key)?.atMs ?? nowMs }] as const),
    )
    tell(reasons())
  }

  /** @throws {Error} while Redis is away. */
  function unreadable(error: unknown): null {
    if (isRedisOutage(error)) throw error
    log.warn({ err: error }, 'The queues could not be looked at')
    return null
  }

  async function standingOf(keys: Keys) {
    const reply = await lookAtQueues(
      [
        keys.window, keys.busy, keys.tenants, keys.slots, keys.concurrency, keys.batchBusy, keys.batchTenants, keys.sweeper,
        keys.progress, keys.batchWindow, keys.parked, keys.targetsDue, ...QUEUES.map((queue) => keys.queueWaiting(queue)),
      ], // oxfmt-ignore
      ['', PROGRESS_KEPT_MS],
    )
    const [slots, underWay, isWaiting, sweepers, couldRun, sinceProgressMs, ...heads] = reply as [
      ...[number, number, number, number, number, number],
      ...Buffer[],
    ] // see the script
    return { slots, underWay, isWaiting, sweepers, couldRun, sinceProgressMs, heads: heads.map(String) }
  }

  /** @param underWay Calls of all shards together. */
  function signsOf(standing: Awaited<ReturnType<typeof standingOf>> | null, underWay: number): Sign[] {
    if (!standing) return [{ reason: 'queues_unreadable', of: '' }]
    const { slots, isWaiting, sweepers, couldRun, sinceProgressMs, heads } = standing
    const [jobs = '', batches = '', webhooks = ''] = heads
    const waits = isWaiting === 1 || jobs + batches + webhooks !== ''
    if (slots === 0) return waits ? [{ reason: 'no_workers', of: '' }] : []
    const isIdle = underWay < slots
    const signs: (Sign | false)[] = [
      isWaiting === 1 && sweepers === 0 && { reason: 'no_sweeper', of: '' },
      couldRun === 1 && !isWithin(sinceProgressMs, stallMs) && { reason: 'jobs_not_let_in', of: '' },
      jobs !== '' && isIdle && { reason: 'jobs_not_taken', of: jobs },
      batches !== '' && isIdle && { reason: 'batches_not_taken', of: batches },
      webhooks !== '' && { reason: 'webhooks_not_taken', of: webhooks },
    ]
    return signs.filter((sign) => sign !== false)
  }

  function reasons(): NotReady[] {
    const nowMs = performance.now()
    const stalled = [...since.values()].filter(({ reason, atMs }) => nowMs - atMs >= patienceMs(reason))
    return [...new Set(stalled.map(({ reason }) => reason))]
  }

  function patienceMs(reason: NotReady): number {
    return reason === 'webhooks_not_taken' ? stallMs + deps.deliveryMs : stallMs
  }

  // One line when it turns, each way.
  function tell(now: NotReady[]): void {
    if (now.join() === told) return
    told = now.join()
    if (now.length > 0)
      log.error({ reasons: now }, 'What waits does not get ahead: this API says that it is not ready')
    else log.info('What waits gets ahead again')
  }

  function schedule(): void {
    timer = setTimeout(() => {
      void look()
        .catch(() => since.clear())
        .finally(() => void (isClosed || schedule()))
    }, everyMs)
  }

  return {
    start: schedule,
    /** Why work does not get ahead; none: it does. */
    reasons,
    close(): void {
      isClosed = true
      if (timer) clearTimeout(timer)
    },
  }
}

export type Readiness = ReturnType<typeof createReadiness>

function isWithin(sinceMs: number, ms: number): boolean {
  return sinceMs >= 0 && sinceMs < ms
}
