import { Readable } from 'node:stream'
import type { FastifyReply } from 'fastify'
import type { EndpointName } from '../shared/jobs/endpoints.ts'
import { InvalidRequestError, SyncWaitExceededError } from '../shared/errors.ts'
import type { Ids } from '../shared/ids.ts'
import type { JobView } from '../shared/jobs/jobs.ts'
import type { JobError } from '../shared/schemas/job.ts'
import { noteDelivery } from './delivered.ts'
import { unlessAway, type FollowDeps, type Following, type Next } from './following.ts'
import type { Hold, Holds } from './holds.ts'
import { errorOf, missingJob, noteJob, sendCompletion } from './job-replies.ts'
import type { Caller } from './presence.ts'
import { errorEvent, HEARTBEAT, startEventStream } from './stream-events.ts'

// The head waits for the first piece, so that a failure that comes first has its own status.
const HEAD_MS = 10_000
// What OpenAI's SDK takes for the end: it hangs up as soon as it has read it, before anything that could come after it.
const LAST_EVENT = Buffer.from('data: [DONE]\n\n')

export type StreamingDeps = FollowDeps & {
  ids: Ids
  holds: Holds
  /** After so many milliseconds without anything a stream says that it is still there. */
  heartbeatMs: number
}

export type StreamedJob = {
  tenant: string
  id: string
  endpoint: EndpointName
  /** Who made it by his call; missing: somebody reads along. */
  caller?: Caller
  /** His call, sent again, would find it. */
  isFoundAgain?: boolean
  /** What of its pieces is sent; all of them, byte for byte, unless given. */
  pick?: (events: Buffer) => Buffer | string
}

/** Answers a call with its job's stream, byte for byte as the provider gave it. */
export async function sendStream(
  reply: FastifyReply,
  deps: StreamingDeps,
  job: StreamedJob,
  following: Following,
): Promise<FastifyReply> {
  const hold = deps.holds.hold(reply)
  const close = () => {
    following.close()
    hold.release()
  }
  let first: Next
  try {
    first = await following.next(Math.min(HEAD_MS, deps.heartbeatMs), hold.signal)
    if (first.kind === 'gone') throw missingJob(deps.ids, job.tenant, job.id)
    // Nothing has been said yet: another process answers the call when it is sent again.
    if (first.kind === 'quiet' && job.isFoundAgain && deps.holds.isStopping()) {
      throw new SyncWaitExceededError(job.id, true)
    }
  } catch (error) {
    close()
    throw error
  }
  if (first.kind === 'ended') {
    close()
    job.caller?.noteAnswer()
    if (first.view.job.status !== 'completed') {
      // Redis may be away: a 503 would make the SDKs ask, and pay, for it again.
      const whole = await unlessAway(deps.jobs.read(job.tenant, job.id))
      return sendCompletion(reply, whole ?? first.view)
    }
    const { message, param, code } = UNAVAILABLE
    throw new InvalidRequestError(message, param, code)
  }
  noteJob(reply, { id: job.id })
  startEventStream(reply)
  const noteWhole = (view: JobView) => noteDelivery(reply, view)
  const told = eventsOf(first, job, { ...deps, following, hold, noteWhole })
  const events = Readable.from(told, { objectMode: false })
  events.once('close', close)
  return reply.send(events)
}

async function* eventsOf(
  first: Next,
  { endpoint, pick, caller }: StreamedJob,
  {
    heartbeatMs,
    following,
    hold,
    noteWhole,
  }: { heartbeatMs: number; following: Following; hold: Hold; noteWhole: (view: JobView) => void },
): AsyncGenerator<Buffer | string> {
  // Kept back until the job has ended: who hangs up then has all there is, and his job is no longer his to lose.
  let isComplete = false
  for (let next = first; ; next = await following.next(heartbeatMs, hold.signal)) {
    if (next.kind === 'pieces') {
      const bytes = pick ? pick(next.bytes) : next.bytes
      isComplete = endsWithLast(bytes)
      yield endsWithLast(bytes) ? bytes.subarray(0, -LAST_EVENT.length) : bytes
    } else if (next.kind === 'quiet' && !hold.signal.aborted) yield HEARTBEAT
    else {
      if (next.kind === 'ended') caller?.noteAnswer()
      const error = isComplete && next.kind !== 'ended' ? null : endOf(next)
      if (next.kind === 'ended' && next.stream === 'whole') noteWhole(next.view)
      if (error) yield errorEvent(endpoint, error)
      else if (isComplete) yield LAST_EVENT
      return
    }
  }
}

function endsWithLast(bytes: Buffer | string): bytes is Buffer {
  return Buffer.isBuffer(bytes) && bytes.subarray(-LAST_EVENT.length).equals(LAST_EVENT)
}

/** Why a stream ends here; null when its answer is complete. */
function endOf(next: Next): JobError | null {
  if (next.kind === 'ended') {
    if (next.view.job.status !== 'completed') return errorOf(next.view)
    return next.stream === 'whole' ? null : next.stream === 'torn' ? TORN : UNAVAILABLE
  }
  if (next.kind === 'gone') return { ...INTERRUPTED, message: 'The job is no longer kept.' }
  return INTERRUPTED
}

const UNAVAILABLE = {
  message: 'This answer has no stream that is kept. Read it in one piece.',
  type: 'invalid_request_error',
  param: 'stream',
  code: 'stream_unavailable',
} satisfies JobError

const TORN: JobError = {
  message:
    'A part of this stream was lost; the answer is complete. Read it in one piece at /v1/jobs/{id}/result, the id being in x-job-id.',
  type: 'server_error',
  param: null,
  code: 'stream_interrupted',
}

const INTERRUPTED: JobError = {
  message:
    'The gateway is restarting; the job goes on. Read its stream at /v1/jobs/{id}/events, the id being in x-job-id.',
  type: 'server_error',
  param: null,
  code: 'stream_interrupted',
}
