import type { FastifyReply } from 'fastify'
import type { EndpointName } from '../shared/endpoints.ts'
import type { JobError } from '../shared/schemas/job.ts'
import { createSseReader, formatSse } from '../shared/sse.ts'
import { anthropicType } from './error-shapes.ts'

/** A line that says nothing and keeps proxies from taking the connection for dead. No SDK stumbles over it. */
export const HEARTBEAT = ': the job is under way\n\n'

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
