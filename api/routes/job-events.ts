import { Readable } from 'node:stream'
import type { FastifyInstance } from 'fastify'
import type { ZodTypeProvider } from 'fastify-type-provider-zod'
import { z } from 'zod'
import { InvalidRequestError } from '../../shared/errors.ts'
import type { JobView } from '../../shared/jobs.ts'
import { ErrorResponse } from '../../shared/schemas/error.ts'
import type { Job } from '../../shared/schemas/job.ts'
import { createSseReader } from '../../shared/sse.ts'
import { followJob, unlessAway, type Following } from '../following.ts'
import type { Hold } from '../holds.ts'
import { missingJob } from '../job-replies.ts'
import { HEARTBEAT, startEventStream } from '../stream-events.ts'
import type { StreamingDeps } from '../streaming.ts'

// A change of state has no message of its own: it is looked for so often.
const LOOK_MS = 2_000

const EventsQuery = z.object({
  starting_after: z.coerce
    .number()
    .int()
    .min(0)
    .optional()
    .describe('Number of the last piece that was received, as `id:` gave it; 0 begins at the first.'),
})

/**
 * `GET /jobs/{id}/events`: a job as server-sent events. First what the job is (`job.snapshot`), then each piece of a streamed
 * answer (`job.delta`), changes of its state, and `end`. An event's `id:` is the number of the last piece before or in it; whoever
 * comes back with it, on any API process, has the rest. 204: there is no rest.
 */
export function addJobEventRoutes(app: FastifyInstance, deps: StreamingDeps): void {
  const schema = {
    summary: "Follow a job's events",
    description:
      'Server-sent events, resumable by `Last-Event-ID` or `starting_after`: `job.snapshot`, `job.in_progress`, `job.delta` (the pieces of a streamed answer, verbatim), `job.completed|failed|cancelled|expired`, `end`.',
    tags: ['jobs'],
    params: z.object({ id: z.string() }),
    querystring: EventsQuery,
    response: {
      200: { content: { 'text/event-stream': { schema: z.unknown() } } },
      204: z.unknown(),
      '4xx': ErrorResponse,
      '5xx': ErrorResponse,
    },
  }
  app.withTypeProvider<ZodTypeProvider>().get('/jobs/:id/events', { schema }, async (request, reply) => {
    const { tenant } = request
    const { id } = request.params
    const place = readPlace(request.headers['last-event-id'], request.query.starting_after)
    if (place.isEnd) return reply.code(204).send()
    const view = deps.ids.isOwnJobId(tenant, id) ? await deps.jobs.read(tenant, id) : null
    if (!view) throw missingJob(deps.ids, tenant, id)
    const hold = deps.holds.hold(reply)
    const following = followJob(deps, { tenant, id, isNew: false, after: place.after })
    startEventStream(reply)
    const readWhole = () => deps.jobs.read(tenant, id)
    const events = Readable.from(eventsOf(view, place.after, { ...deps, following, hold, readWhole }), {
      objectMode: false,
    })
    events.once('close', () => {
      following.close()
      hold.release()
    })
    return reply.send(events)
  })
}

/** Where a reader goes on. An id that ends in `.end` is the one of the last event there is. */
function readPlace(header: string | string[] | undefined, query: number | undefined) {
  if (query !== undefined) return { after: query, isEnd: false }
  if (header === undefined || header === '') return { after: 0, isEnd: false }
  const [, number, end] = /^(\d{1,9})(\.end)?$/.exec([header].flat().join(',')) ?? []
  if (number === undefined) {
    throw new InvalidRequestError('`Last-Event-ID` is no id of an event that was sent.', 'Last-Event-ID')
  }
  return { after: Number(number), isEnd: end !== undefined }
}

type Followed = {
  heartbeatMs: number
  following: Following
  hold: Hold
  /** The job with its result. */
  readWhole: () => Promise<JobView | null>
}

async function* eventsOf(
  view: JobView,
  after: number,
  { heartbeatMs, following, hold, readWhole }: Followed,
): AsyncGenerator<string> {
  let position = after
  let { status } = view.job
  let toldAt = performance.now()
  yield jobEvent('job.snapshot', String(position), view.job)
  for (;;) {
    const next = await following.next(Math.min(LOOK_MS, heartbeatMs), hold.signal)
    if (next.kind === 'gone' || (next.kind === 'quiet' && hold.signal.aborted)) return
    if (next.kind === 'ended') {
      const whole = await unlessAway(readWhole())
      // Asked again, after a while.
      if (whole === undefined) continue
      const id = `${position}.end`
      const { job } = whole ?? next.view
      yield jobEvent(`job.${job.status}`, id, job)
      yield `id: ${id}\nevent: end\ndata: {}\n\n`
      return
    }
    const seen = following.view()?.job
    if (next.kind === 'pieces') {
      position = next.number
      yield deltaEvent(position, next.bytes)
    } else if (seen && seen.status !== status) {
      status = seen.status
      yield jobEvent(`job.${status}`, String(position), seen)
    } else if (performance.now() - toldAt >= heartbeatMs) yield HEARTBEAT
    else continue
    toldAt = performance.now()
  }
}

function jobEvent(type: string, id: string, job: Job): string {
  return `id: ${id}\nevent: ${type}\ndata: ${JSON.stringify({ type, job })}\n\n`
}

/** The provider's own events of some pieces: each one's data as the text that it was. */
function deltaEvent(number: number, bytes: Buffer): string {
  const chunks = createSseReader()(bytes)
    .map(({ data }) => data)
    .filter((data) => data !== '[DONE]')
    .map(toJsonLine)
  return `id: ${number}\nevent: job.delta\ndata: {"type":"job.delta","number":${number},"chunks":[${chunks.join(',')}]}\n\n`
}

// An event's data may have line breaks, which would end ours, or be no JSON.
function toJsonLine(data: string): string {
  try {
    JSON.parse(data)
  } catch {
    return JSON.stringify(data)
  }
  return data.replaceAll('\n', ' ')
}
