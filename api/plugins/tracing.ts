import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { Logger } from '../../shared/log.ts'
import { NO_TRACING, type RequestTrace, type Tracing } from '../../shared/tracing.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /** Null: it is not traced. */
    trace: RequestTrace | null
  }
}

/** Asked every few seconds by machines, and no part of anybody's call. */
const UNTRACED: ReadonlySet<string | undefined> = new Set(['/healthz', '/readyz', '/metrics'])

/** Traces requests, in the trace of their caller where one is given. What is not traced costs nothing. */
export function addTracing(app: FastifyInstance, tracing: Tracing = NO_TRACING): void {
  app.decorateRequest('trace', null)
  if (tracing === NO_TRACING) return
  app.addHook('onRequest', async (request, reply) => {
    if (UNTRACED.has(request.routeOptions.url)) return
    const { traceparent } = request.headers
    const trace = tracing.request(request.method, typeof traceparent === 'string' ? traceparent : undefined)
    request.trace = trace
    // Also of a call whose client leaves, which Fastify's own hook does not hear of.
    reply.raw.once('close', () => {
      trace?.end(request.routeOptions.url, reply.raw.writableFinished ? reply.statusCode : null)
    })
  })
}

/**
 * Stores what a request submits, in its trace.
 * @param store Gets it with where its trace goes on.
 */
export function traceSubmit<
  Input extends { id: string; trace?: string | undefined },
  Result extends { kind: string; id?: string },
>(
  request: FastifyRequest | undefined,
  noun: 'job' | 'batch',
  input: Input,
  store: (input: Input) => Promise<Result>,
): Promise<Result> {
  const trace = request?.trace
  if (!trace) return store(input)
  return trace.submit({ noun, id: input.id, trace: input.trace }, (own) => store({ ...input, trace: own }))
}

/** What a line of the log says of the request that it is about, so that it is found with its job and trace. */
export function namesOf(request: FastifyRequest, reply: FastifyReply) {
  return {
    request_id: request.id,
    path: request.routeOptions.url,
    job_id: reply.getHeader('x-job-id'),
    trace_id: request.trace?.traceId,
  }
}

/** A line for each request, at `debug`: there are too many of them to be of use to anybody who looks for nothing. */
export function addRequestLog(app: FastifyInstance, log: Logger): void {
  if (!log.isLevelEnabled('debug')) return
  app.addHook('onResponse', async (request, reply) => {
    const { method } = request
    const answered = { method, status: reply.statusCode, ms: Math.round(reply.elapsedTime) }
    log.debug({ ...namesOf(request, reply), ...answered }, 'A request was answered')
  })
}
