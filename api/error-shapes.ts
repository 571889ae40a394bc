import type { FastifyReply } from 'fastify'
import type { ErrorBody } from '../shared/errors.ts'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Whose form the route's errors have; OpenAI's unless it says so. */
    errorShape?: 'anthropic'
  }
}

/** Anthropic's names of what went wrong, by status. @see https://docs.claude.com/en/api/errors */
const ANTHROPIC_TYPES: Record<number, string> = {
  400: 'invalid_request_error',
  401: 'authentication_error',
  403: 'permission_error',
  404: 'not_found_error',
  408: 'timeout_error',
  413: 'request_too_large',
  429: 'rate_limit_error',
  504: 'timeout_error',
  529: 'overloaded_error',
}

/** An error in the form that the called route's clients read: OpenAI's, or Anthropic's with OpenAI's fields in it. */
export function shapeError(reply: FastifyReply, status: number, { error }: ErrorBody): object {
  if (reply.request.routeOptions.config?.errorShape !== 'anthropic') return { error }
  return { type: 'error', error: { ...error, type: anthropicType(status) }, request_id: reply.request.id }
}

function anthropicType(status: number): string {
  return ANTHROPIC_TYPES[status] ?? (status < 500 ? 'invalid_request_error' : 'api_error')
}
