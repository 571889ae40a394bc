import type { FastifyReply, FastifyRequest } from 'fastify'
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
  402: 'billing_error',
  403: 'permission_error',
  404: 'not_found_error',
  408: 'timeout_error',
  413: 'request_too_large',
  429: 'rate_limit_error',
  504: 'timeout_error',
  529: 'overloaded_error',
}
const NAMES: ReadonlySet<string> = new Set(Object.values(ANTHROPIC_TYPES))
/** Anthropic has more there than is served. */
const BELOW_MESSAGES = /^(?:\/v1)?\/messages\//

/** Whether a call is one of Anthropic's, which its SDK made. */
export function isAnthropic({ is404, url, routeOptions }: FastifyRequest): boolean {
  return is404 ? BELOW_MESSAGES.test(url) : routeOptions.config?.errorShape === 'anthropic'
}

/** An error in the form that the called route's clients read: OpenAI's, or Anthropic's with OpenAI's fields in it. */
export function shapeError({ request }: FastifyReply, status: number, { error }: ErrorBody): object {
  if (!isAnthropic(request)) return { error }
  const type = ANTHROPIC_TYPES[status] ?? (status < 500 ? 'invalid_request_error' : 'api_error')
  return { type: 'error', error: { ...error, type }, request_id: request.id }
}

/** What Anthropic calls an error that has no status, since it came after the head: its own name, where it is one. */
export function anthropicType(type: string): string {
  return NAMES.has(type) ? type : 'api_error'
}
