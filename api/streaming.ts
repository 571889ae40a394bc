import { Readable } from 'node:stream'
import type { FastifyReply } from 'fastify'
import type { EndpointName } from '../shared/endpoints.ts'
import type { Ids } from '../shared/ids.ts'
import type { JobView, Jobs } from '../shared/jobs.ts'
import { isRedisOutage } from '../shared/redis-check.ts'
import type { JobError } from '../shared/schemas/job.ts'
import type { SettledListener } from '../shared/settled.ts'
import type { StreamListener } from '../shared/stream-listener.ts'
import type { Hold, Holds } from './holds.ts'
import { errorOf, missingJob, noteJob, sendCompletion } from './job-replies.ts'
import { errorEvent, HEARTBEAT } from './stream-events.ts'

// The head waits for the first piece, so that a failure that comes first has its own status.
const HEAD_MS = 10_000
const HEARTBEAT_MS = 15_000
// A message can be lost with its connection; whoever waits looks again by himself.
const REREAD_MS = 2_000

export type StreamingDeps = {
  ids: Ids
  jobs: Jobs
  settled: SettledListener
  streams: StreamListener
  holds: Holds
  /** Cancels a job that nobody but its stream's reader asked for, when that one leaves. */
  cancelsWhenLeft: boolean
}

/** What can come next of a job that is read along: pieces of its answer, its end, or nothing in time. */
export type Next =
  | { kind: 'pieces'; bytes: Buffer; number: number }
  | { kind: 'ended'; view: JobView }
  | { kind: 'quiet' }

/** Follows a job and its stream. To be opened before the job is made, if its first piece shall be heard at once. */
export function followJob(
  { jobs, settled, streams }: Pick<StreamingDeps, 'jobs' | 'settled' | 'streams'>,
  tenant: string,
  id: string,
  after = 0,
) {
  const tail = streams.open(tenant, id, after)
  let mayHaveEnded = false
  let isFirst = true
  let lookedAt = performance.now()
  const stopListening = settled.onEnd(id, () => {
    mayHaveEnded = true
    tail.ring()
  })

  async function look(): Promise<JobView | null> {
    mayHaveEnded = false
    lookedAt = performance.now()
    return jobs.read(tenant, id)
  }

  /**
   * What comes next, at the latest after `waitMs`. While Redis is away nothing comes; it is asked again.
   * @returns null when there is no such job any more.
   */
  async function next(waitMs: number, signal: AbortSignal): Promise<Next | null> {
    const untilMs = performance.now() + waitMs
    for (;;) {
      if (!isFirst) await tail.wait(Math.min(REREAD_MS, Math.max(0, untilMs - performance.now())), signal)
      isFirst = false
      try {
        // Asked before the pieces: all of an ended job's are there.
        const isDue = mayHaveEnded || performance.now() - lookedAt >= REREAD_MS
        const view = isDue ? await look() : undefined
        if (view === null) return null
        const pieces = await tail.take()
        const last = pieces.at(-1)
        if (last) {
          if (view?.isTerminal) mayHaveEnded = true
          if (view?.isTerminal) tail.ring()
          return {
            kind: 'pieces',
            bytes: Buffer.concat(pieces.map(({ bytes }) => bytes)),
            number: last.number,
          }
        }
        if (view?.isTerminal) return { kind: 'ended', view }
      } catch (error) {
        if (!isRedisOutage(error)) throw error
      }
      if (signal.aborted || performance.now() >= untilMs) return { kind: 'quiet' }
    }
  }

  return {
    next,
    close() {
      stopListening()
      tail.close()
    },
  }
}

export type Following = ReturnType<typeof followJob>

/** Answers a call with its job's stream, byte for byte as the provider gave it. */
export async function sendStream(
  reply: FastifyReply,
  deps: StreamingDeps,
  job: { tenant: string; id: string; endpoint: EndpointName; isOwn: boolean },
  following: Following,
): Promise<FastifyReply> {
  const hold = deps.holds.hold(reply)
  const close = () => {
    following.close()
    hold.release()
  }
  let first: Next | null
  try {
    first = await following.next(HEAD_MS, hold.signal)
    if (!first) throw missingJob(deps.ids, job.tenant, job.id)
  } catch (error) {
    close()
    throw error
  }
  if (first.kind === 'ended') {
    close()
    if (first.view.job.status !== 'completed') return sendCompletion(reply, first.view)
  }
  noteJob(reply, { id: job.id, attempts_made: 1 })
  void reply
    .type('text/event-stream; charset=utf-8')
    .header('cache-control', 'no-cache, no-transform')
    .header('x-accel-buffering', 'no')
  const events = Readable.from(eventsOf(first, job.endpoint, following, hold), { objectMode: false })
  events.once('close', () => {
    close()
    if (!events.readableEnded && deps.cancelsWhenLeft && job.isOwn) void leave(deps, job)
  })
  return reply.send(events)
}

async function* eventsOf(
  first: Next,
  endpoint: EndpointName,
  following: Following,
  hold: Hold,
): AsyncGenerator<Buffer | string> {
  for (let next: Next | null = first; ; next = await following.next(HEARTBEAT_MS, hold.signal)) {
    if (next?.kind === 'pieces') yield next.bytes
    else if (next?.kind === 'quiet' && !hold.signal.aborted) yield HEARTBEAT
    else {
      const error = endOf(next)
      if (error) yield errorEvent(endpoint, error)
      return
    }
  }
}

/** Why a stream ends here; null when its answer is complete. */
function endOf(next: Next | null): JobError | null {
  if (next?.kind === 'ended') return next.view.job.status === 'completed' ? null : errorOf(next.view)
  if (next === null) return { ...INTERRUPTED, message: 'The job is no longer kept.' }
  return INTERRUPTED
}

const INTERRUPTED: JobError = {
  message:
    'The gateway is restarting; the job goes on. Read its stream at /v1/jobs/{id}/events, the id being in x-job-id.',
  type: 'server_error',
  param: null,
  code: 'stream_interrupted',
}

async function leave({ jobs }: StreamingDeps, { tenant, id }: { tenant: string; id: string }): Promise<void> {
  // With Redis away the job goes on to its deadline, as by default.
  await jobs.cancel(tenant, id).catch(() => undefined)
}
