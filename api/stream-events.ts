import type { FastifyReply, FastifyRequest } from 'fastify'
import type { EndpointName } from '../shared/jobs/endpoints.ts'
import type { JobError } from '../shared/schemas/job.ts'
import { createSseReader, formatSse } from '../shared/sse.ts'
import { anthropicType } from './error-shapes.ts'

/** A line that says nothing and keeps proxies from taking the connection for dead. No SDK stumbles over it. */
export const HEARTBEAT = ': the job is under way\n\n'

/**
 * The same among events that have ids. With a blank line behind it some readers would take it for an event, since an id that they
 * read once stays with them.
 */
export const EVENTS_HEARTBEAT = ': under way\n'

/** One event of a job or batch; `data` is JSON, in which what a provider sent stands as it came. */
export type OwnEvent = { id: string; type: string; data: string }

/** An event on the wire. */
export function formatEvent({ id, type, data }: OwnEvent): string {
  return `id: ${id}\nevent: ${type}\ndata: ${data}\n\n`
}

/** Whether a caller wants the events there are as a page of a list, and not to follow them. */
export function wantsPage({ headers }: FastifyRequest): boolean {
  const accept = headers.accept ?? ''
  return accept.includes('application/json') && !accept.includes('text/event-stream')
}

/** Events as a page in OpenAI's list shape. */
export function formatPage(events: readonly OwnEvent[], hasMore: boolean): string {
  const [first, last] = [events[0]?.id ?? null, events.at(-1)?.id ?? null]
  const data = events.map(({ id, data: json }) => `{"id":${JSON.stringify(id)},${json.slice(1)}`)
  const ends = `"first_id":${JSON.stringify(first)},"last_id":${JSON.stringify(last)},"has_more":${hasMore}`
  return `{"object":"list","data":[${data.join(',')}],${ends}}`
}

/** Sends a page that was put together as text. */
export function sendPage(reply: FastifyReply, page: string): FastifyReply {
  return reply.type('application/json; charset=utf-8').send(page)
}

/**
 * The event that ends a stream that can't go on, as the SDKs of each endpoint read it: they throw with its message and code.
 */
export function errorEvent(endpoint: EndpointName, error: JobError): string {
  if (endpoint === 'messages') {
    const type = anthropicType(error.type)
    return formatSse({ event: 'error', data: JSON.stringify({ type: 'error', error: { ...error, type } }) })
  }
  if (endpoint === 'responses') {
    const { message, param, code } = error
    return formatSse({ event: 'error', data: JSON.stringify({ type: 'error', code, message, param }) })
  }
  return formatSse({ data: JSON.stringify({ error }) })
}

/** The headers of a stream that no proxy keeps, changes or waits for the end of. */
export function startEventStream(reply: FastifyReply): void {
  void reply
    .type('text/event-stream; charset=utf-8')
    .header('cache-control', 'no-cache, no-transform')
    .header('x-accel-buffering', 'no')
}

/** Picks the events of a Response's stream that come after a `sequence_number`. */
export function afterSequence(number: number): (events: Buffer) => string {
  const read = createSseReader()
  return (events) =>
    read(events)
      .filter(({ data }) => Number(/"sequence_number"\s*:\s*(\d+)/.exec(data)?.[1] ?? Infinity) > number)
      .map(formatSse)
      .join('')
}
