import { LIST_FIELDS } from '../shared/jobs/job-record.ts'
import { TORN } from '../shared/jobs/job-streams.ts'
import type { JobView, Jobs } from '../shared/jobs/jobs.ts'
import { isRedisOutage } from '../shared/redis-check.ts'
import type { SettledListener } from '../shared/jobs/settled.ts'
import type { StreamListener } from '../shared/jobs/stream-listener.ts'

// A message can be lost with its connection; whoever waits looks again by himself.
const REREAD_MS = 2_000

export type FollowDeps = { jobs: Jobs; settled: SettledListener; streams: StreamListener }

/**
 * What can come next of a job that is followed: pieces of its answer, its end (the view is without the result, which nobody
 * holds while he reads the pieces; `torn`: a complete answer, not all pieces of which are there), or nothing in time. `gone`: it is no more.
 */
export type Next =
  | { kind: 'pieces'; bytes: Buffer; number: number }
  | { kind: 'ended'; view: JobView; stream: 'whole' | 'torn' | 'none' }
  | { kind: 'quiet' | 'gone' }

/**
 * Follows a job and the stream of its answer from behind piece `after` on. The caller closes it.
 * @param job `isNew`: it is made only now, so that its first piece is heard at once; else it is read first.
 */
export function followJob(
  { jobs, settled, streams }: FollowDeps,
  { tenant, id, isNew, after = 0 }: { tenant: string; id: string; isNew: boolean; after?: number },
) {
  const tail = streams.open(tenant, id, after)
  let view: JobView | null = null
  // Of a new job there is nothing yet to look at.
  let mustWait = isNew
  let mayHaveEnded = !isNew
  let lookedAt = performance.now()
  const stopListening = settled.onEnd(id, () => {
    mayHaveEnded = true
    tail.ring()
  })

  /** The next pieces, or the end behind them. Null: neither yet. */
  async function look(): Promise<Next | null> {
    // Before the pieces: all those of an ended job are there.
    const isTimeToRead = mayHaveEnded || performance.now() - lookedAt >= REREAD_MS
    if (isTimeToRead && !view?.isTerminal) {
      lookedAt = performance.now()
      view = await jobs.read(tenant, id, LIST_FIELDS)
      mayHaveEnded = view?.isTerminal === true
      if (!view) return { kind: 'gone' }
    }
    const pieces = await tail.take()
    const last = pieces.at(-1)
    if (last) {
      // Its end is still to be told.
      if (mayHaveEnded) tail.ring()
      const bytes = pieces.length === 1 ? last.bytes : Buffer.concat(pieces.map((piece) => piece.bytes))
      return { kind: 'pieces', bytes, number: last.number }
    }
    return mayHaveEnded && view?.isTerminal ? { kind: 'ended', view, stream: streamOf(view) } : null
  }

  function streamOf({ pieces }: JobView): 'whole' | 'torn' | 'none' {
    if (pieces === null) return 'none'
    return pieces === TORN || tail.position() < pieces ? 'torn' : 'whole'
  }

  return {
    /** What comes next, at the latest after `waitMs`. While Redis is away nothing comes; it is asked again. */
    async next(waitMs: number, signal: AbortSignal): Promise<Next> {
      const untilMs = performance.now() + waitMs
      for (;;) {
        const leftMs = untilMs - performance.now()
        if (mustWait) await tail.wait(Math.min(REREAD_MS, Math.max(0, leftMs)), signal)
        mustWait = true
        try {
          const next = await look()
          if (next) return next
        } catch (error) {
          if (!isRedisOutage(error)) throw error
        }
        if (signal.aborted || performance.now() >= untilMs) return { kind: 'quiet' }
      }
    },
    /** The job as it was read last; null before it was. */
    view: () => view,
    close() {
      stopListening()
      tail.close()
    },
  }
}

export type Following = ReturnType<typeof followJob>

/** What a read gives; undefined while Redis is away. */
export async function unlessAway<T>(read: Promise<T>): Promise<T | undefined> {
  try {
    return await read
  } catch (error) {
    if (!isRedisOutage(error)) throw error
    return undefined
  }
}
