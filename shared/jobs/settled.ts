import type { Redis } from 'ioredis'
import { createBell, type Bell } from '../bell.ts'
import { readEndMessage } from './end-message.ts'
import { isLookedAfter, startEndClock } from './end-clock.ts'
import { readFieldsOf } from './job-record.ts'
import type { Keys } from '../keys.ts'
import { isRedisOutage } from '../redis-check.ts'

// A message can be lost with its connection; whoever waits looks again by himself, or seldom where a clock looks for all.
const REREAD_MS = 2_000
const SELDOM_MS = 60_000

/** One waiter for the end of one job or batch. */
export type Watch = {
  /** Rings when it is said to have ended. */
  wait: Bell['wait']
  /** Rings in any case, at the latest a few seconds after the end. */
  isLookedAfter?: boolean
  /** The fields of the ended job (`READ_FIELDS`), where they came along. */
  told?: () => readonly (Buffer | null)[] | null
  close: () => void
}

type Ring = (fields?: readonly (Buffer | null)[]) => void

/**
 * Hears which jobs and batches ended, which jobs are to be cancelled and which were handed a place, over one subscriber connection a process, and wakes whoever
 * waits for them. A wake-up is a hint: the record is the truth.
 *
 * @param subscriber A connection of its own; the caller closes it.
 * @param replyTo The name under which this process is told the whole of the jobs that it holds a line for (`JobInput.replyTo`).
 */
export function createSettledListener(subscriber: Redis, keys: Keys, replyTo: string | null = null) {
  const watchers = new Map<string, Set<Ring>>()
  const cancelHandlers = new Set<(jobId: string) => void>()
  const wakeHandlers = new Set<(jobId: string) => void>()
  const batchStopHandlers = new Set<(batchId: string) => void>()
  let clock: ReturnType<typeof startEndClock> | null = null

  function ringFor(id: string, fields?: readonly (Buffer | null)[]): void {
    for (const wake of watchers.get(id) ?? []) wake(fields)
  }

  const handlers = new Map<string, (message: Buffer) => void>([
    [keys.settledChannel, (id) => ringFor(id.toString())],
    [keys.cancelChannel, (id) => cancelHandlers.forEach((handle) => handle(id.toString()))],
    [keys.wakeChannel, (id) => wakeHandlers.forEach((handle) => handle(id.toString()))],
    [keys.batchStopChannel, (id) => batchStopHandlers.forEach((handle) => handle(id.toString()))],
  ])
  if (replyTo !== null) {
    handlers.set(keys.replyChannel(replyTo), (message) => {
      const [id, ...fields] = readEndMessage(message)
      // A worker of another version tells other fields: then it is a hint like any other.
      if (id) ringFor(id.toString(), readFieldsOf(fields) ?? undefined)
    })
  }
  const onMessage = (channel: Buffer, message: Buffer) => handlers.get(channel.toString())?.(message)
  subscriber.on('messageBuffer', onMessage)

  function onEnd(jobId: string, ring: Ring): () => void {
    const all = watchers.get(jobId) ?? new Set()
    watchers.set(jobId, all.add(ring))
    return () => {
      all.delete(ring)
      if (all.size === 0) watchers.delete(jobId)
    }
  }

  function watch(jobId: string): Watch {
    const { ring, wait } = createBell()
    let told: readonly (Buffer | null)[] | null = null
    const close = onEnd(jobId, (fields) => {
      told ??= fields ?? null
      ring()
    })
    return { wait, isLookedAfter: clock !== null && isLookedAfter(jobId), told: () => told, close }
  }

  return {
    replyTo,
    /** Subscribes; resolves when the subscription holds. ioredis renews it after a reconnect. */
    start: () => subscriber.subscribe(...handlers.keys()),
    /** From now on jobs that are waited for are looked after, over a connection for commands. */
    lookAfter(redis: Redis) {
      clock ??= startEndClock({ redis, keys, watched: () => watchers.keys(), ring: ringFor })
    },
    watch,
    /** Calls `ring` when the job is said to have ended. @returns how to stop that. */
    onEnd: (jobId: string, ring: () => void) => onEnd(jobId, () => ring()),
    onCancel: (handle: (jobId: string) => void) => cancelHandlers.add(handle),
    /** Hears which waiting jobs, and lines of batches, were handed a place at a deployment (`Window.wakeNow`). */
    onWake: (handle: (jobId: string) => void) => wakeHandlers.add(handle),
    /** Hears of which batches nothing new is to be started. */
    onBatchStop: (handle: (batchId: string) => void) => batchStopHandlers.add(handle),
    /** How many jobs are being waited for. */
    size: () => watchers.size,
    close() {
      subscriber.off('messageBuffer', onMessage)
      clock?.close()
      watchers.clear()
      cancelHandlers.clear()
      wakeHandlers.clear()
    },
  }
}

export type SettledListener = ReturnType<typeof createSettledListener>

/**
 * Waits for the end of a job or batch: the watch stands before the first read, and what is not looked after is read again every
 * two seconds, so that a lost message hangs nobody. While Redis is away the wait goes on.
 *
 * @param wait.isFresh It was created after the watch: its first read would tell nothing.
 * @returns what was read last, ended or not; null when there is no such record.
 * @throws when Redis is away before the first read.
 */
export async function waitForEnd<View extends { isTerminal: boolean }>(wait: {
  watch: Watch
  read: () => Promise<View | null>
  waitMs: number
  isFresh?: boolean
  signal?: AbortSignal
}): Promise<View | null> {
  const { watch, read, isFresh = false, signal } = wait
  const until = performance.now() + wait.waitMs
  const isOver = () => performance.now() >= until || signal?.aborted === true
  let view: View | null = null
  let isAway = false
  const rest = () => {
    const everyMs = watch.isLookedAfter && !isAway ? SELDOM_MS : REREAD_MS
    // Many wait at once, and shall not look at once.
    const restMs = Math.min(until - performance.now(), everyMs * (0.75 + Math.random() / 2))
    return watch.wait(Math.max(0, restMs), signal)
  }
  if (isFresh) await rest()
  for (;;) {
    try {
      view = await read()
      isAway = false
      if (!view || view.isTerminal || isOver()) return view
    } catch (error) {
      if (!isRedisOutage(error) || (!view && !isFresh)) throw error
      if (view && isOver()) return view
      isAway = true
    }
    await rest()
  }
}
