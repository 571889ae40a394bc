import { Readable } from 'node:stream'
import type { FastifyInstance } from 'fastify'
import type { ZodTypeProvider } from 'fastify-type-provider-zod'
import { z } from 'zod'
import { InvalidRequestError } from '../../shared/errors.ts'
import { ErrorResponse } from '../../shared/schemas/error.ts'
import { followJob } from '../following.ts'
import { isEnd, jobEvents, pageOf } from '../job-events.ts'
import { missingJob } from '../job-replies.ts'
import type { Presence } from '../presence.ts'
import {
  EVENTS_HEARTBEAT,
  formatEvent,
  formatPage,
  sendPage,
  startEventStream,
  wantsPage,
  type OwnEvent,
} from '../stream-events.ts'
import type { StreamingDeps } from '../streaming.ts'

const PAGE_EVENTS_MAX = 20

const EVENTS = { schema: z.unknown() }
const PLACE = /^(\d{1,9})(\.end)?$/

const EventsQuery = z.object({
  starting_after: z
    .string()
    .regex(PLACE, 'the id of an event that was sent')
    .optional()
    .describe('Id of the last event that was received; 0 begins at the first.'),
})

/**
 * `GET /jobs/{id}/events`: a job as server-sent events. First what the job is (`job.snapshot`), then each piece of a streamed
 * answer (`job.delta`), changes of its state, and `end`. An event's `id:` is the number of the last piece before or in it; whoever
 * comes back with it, on any API process, has the rest. 204: there is no rest. Whoever accepts JSON and no events has those there
 * are as a page of a list.
 */
export function addJobEventRoutes(app: FastifyInstance, deps: StreamingDeps & { presence: Presence }): void {
  const schema = {
    summary: "Follow a job's events",
    description:
      'Server-sent events, resumable by `Last-Event-ID` or `starting_after`: `job.snapshot`, `job.in_progress`, `job.delta` (the pieces of a streamed answer, verbatim), `job.completed|failed|cancelled|expired`, `end`. With `Accept: application/json`: those there are, as a page of a list, of which `last_id` is the next `starting_after`.',
    tags: ['jobs'],
    params: z.object({ id: z.string() }),
    querystring: EventsQuery,
    response: {
      200: { content: { 'text/event-stream': EVENTS, 'application/json': EVENTS } },
      204: z.unknown(),
      '4xx': ErrorResponse,
      '5xx': ErrorResponse,
    },
  }
  app.withTypeProvider<ZodTypeProvider>().get('/jobs/:id/events', { schema }, async (request, reply) => {
    const { tenant } = request
    const { id } = request.params
    const place = readPlace(request.headers['last-event-id'], request.query.starting_after)
    if (place.isEnd) {
      return wantsPage(request) ? sendPage(reply, formatPage([], false)) : reply.code(204).send()
    }
    const view = deps.ids.isOwnJobId(tenant, id) ? await deps.jobs.read(tenant, id) : null
    if (!view) throw missingJob(deps.ids, tenant, id)
    deps.presence.adopt(view)
    const isPage = wantsPage(request)
    const hold = deps.holds.hold(reply)
    const following = followJob(deps, { tenant, id, isNew: false, after: place.after })
    const readWhole = () => deps.jobs.read(tenant, id)
    const quietMs = isPage ? 0 : deps.heartbeatMs
    const events = jobEvents(view, place.after, { following, hold, readWhole, quietMs })
    const leave = () => {
      following.close()
      hold.release()
    }
    if (isPage) {
      // What comes behind a place begins with what the job is only for those who stay.
      if (place.after > 0) await events.next()
      return sendPage(reply, await pageOf(events, PAGE_EVENTS_MAX).finally(leave))
    }
    startEventStream(reply)
    const stream = Readable.from(formatted(events), { objectMode: false })
    stream.once('close', leave)
    return reply.send(stream)
  })
}

async function* formatted(events: AsyncGenerator<OwnEvent | null>): AsyncGenerator<string> {
  let last: OwnEvent | null = null
  for await (const event of events) {
    yield event ? formatEvent(event) : EVENTS_HEARTBEAT
    last = event ?? last
  }
  if (last && isEnd(last)) yield formatEvent({ id: last.id, type: 'end', data: '{}' })
}

/** Where a reader goes on. An id that ends in `.end` is the one of the last event there is. */
function readPlace(header: string | string[] | undefined, query: string | undefined) {
  const text = query ?? [header ?? []].flat().join(',')
  if (text === '') return { after: 0, isEnd: false }
  const [, number, end] = PLACE.exec(text) ?? []
  if (number === undefined) {
    throw new InvalidRequestError('`Last-Event-ID` is no id of an event that was sent.', 'Last-Event-ID')
  }
  return { after: Number(number), isEnd: end !== undefined }
}
