import type { Redis } from 'ioredis'
import type { Logger } from '../shared/log.ts'
import type { QueueWorker } from './workers.ts'

const LOOKS_A_STALL = 10
const EVERY_MS_MIN = 50
/** A look that comes so much later than it should says that this process stood still, and nothing of its queues. */
const LATE_FACTOR = 3

/** A queue that this process takes entries from. */
type Watched = {
  name: string
  start: (redis: Redis) => QueueWorker
  hasRoom: () => boolean
  isThere: () => Promise<unknown>
  worker: QueueWorker
  /** Opened for it alone. */
  own: Redis | null
  /** From when on it counts that it does not ask: before that there was a reason. */
  sinceMs: number
  /** When it was begun anew, and has not asked since; null: it was not. */
  renewedMs: number | null
}

/**
 * Looks after the queues of a process: a connected worker that asks Redis for nothing looks healthy and does nothing
 * (docs/decisions/0025). One that has room and has not asked for `stallMs`, although Redis answers and this process has not
 * stood still, is begun anew on a connection of its own; when that does not help either, the process is to end, for its
 * supervisor to start it again. A worker that is full does not ask, nor one that was paused because the process has no slot.
 */
export function createWatch(deps: {
  /** A connection of role `commands`. */
  redis: Redis
  /** Opens one of role `blocking`. */
  open: () => Redis
  stallMs: number
  /** The process is of no use as it is. */
  fail: (reason: string) => void
  log: Logger
}) {
  const { redis, stallMs, log } = deps
  const everyMs = Math.max(EVERY_MS_MIN, stallMs / LOOKS_A_STALL)
  const queues: Watched[] = []
  let timer: NodeJS.Timeout | null = null
  let isClosed = false
  let renewals = 0

  /**
   * Starts to take entries of a queue.
   * @param hasRoom Whether the process has a slot for what is taken.
   * @param isThere Asks the node of a cluster that holds the queue: while it is away the others' answers say nothing.
   * @returns the worker that takes them now.
   */
  function add(
    name: string,
    first: Redis,
    start: (redis: Redis) => QueueWorker,
    hasRoom: () => boolean = () => true,
    isThere: () => Promise<unknown> = () => redis.time(),
  ): () => QueueWorker {
    const sinceMs = performance.now()
    const queue = { name, start, hasRoom, isThere, worker: start(first), own: null, sinceMs, renewedMs: null }
    queues.push(queue)
    return () => queue.worker
  }

  async function look(): Promise<void> {
    const askedMs = performance.now()
    const answers = await Promise.allSettled(queues.map((queue) => queue.isThere()))
    const nowMs = performance.now()
    if (isClosed) return
    const isLate = nowMs - askedMs > everyMs * LATE_FACTOR
    for (const [at, queue] of queues.entries()) {
      if (isLate || answers[at]?.status !== 'fulfilled') queue.sinceMs = nowMs
      judge(queue, nowMs)
    }
  }

  function judge(queue: Watched, nowMs: number): void {
    const { worker } = queue
    if (!queue.hasRoom() || worker.isFull()) queue.sinceMs = nowMs
    if (queue.renewedMs !== null && worker.askedMs > queue.renewedMs) queue.renewedMs = null
    if (nowMs - Math.max(queue.sinceMs, worker.askedMs) < stallMs) return
    if (queue.renewedMs === null) renew(queue)
    else deps.fail(`its queue ${queue.name} stands still, and did so when it was begun anew`)
  }

  function renew(queue: Watched): void {
    renewals += 1
    log.warn({ queue: queue.name }, 'A queue was not asked for work any more: it is begun anew')
    const { worker: old, own } = queue
    queue.own = deps.open()
    queue.worker = queue.start(queue.own)
    // Later than the worker's own first time, which is no answer.
    queue.renewedMs = performance.now()
    queue.sinceMs = queue.renewedMs
    // What it has under way goes on by its leases. Its connection may never answer again: nobody waits for it.
    void letGo(old, own)
  }

  function excuseAll(nowMs: number): void {
    for (const queue of queues) queue.sinceMs = nowMs
  }

  function schedule(): void {
    const dueMs = performance.now() + everyMs
    timer = setTimeout(() => {
      if (performance.now() - dueMs > everyMs * LATE_FACTOR) excuseAll(performance.now())
      void look().finally(() => void (isClosed || schedule()))
    }, everyMs)
  }

  return {
    add,
    start: schedule,
    /** How many queues were begun anew so far. */
    renewals: (): number => renewals,
    /** Looks no more; what runs goes on. */
    stop(): void {
      isClosed = true
      if (timer) clearTimeout(timer)
    },
    /** Ends the connections that it opened. */
    close(): void {
      for (const { own } of queues) own?.disconnect()
    },
  }
}

export type Watch = ReturnType<typeof createWatch>

async function letGo(worker: QueueWorker, own: Redis | null): Promise<void> {
  await worker.close(true).catch(() => undefined)
  own?.disconnect()
}
