import { hash } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import type { FastifyRequest } from 'fastify'
import type { Ids } from '../shared/ids.ts'
import type { JobInput } from '../shared/jobs/jobs.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /** SHA-256 of the body as it came, of a call that can be found again; null of any other. */
    bodyHash: string | null
  }
  interface FastifyContextConfig {
    /** When its client lost the connection and sends it again, it finds the job that it made before. */
    isFoundAgain?: boolean
  }
}

/** What the official SDKs send with each call: 0, then 1 and 2 when they try again by themselves. */
const TRIES = 'x-stainless-retry-count'
const STEERING = /^(?:x-job-|x-litellm-|prefer$|cancel-after$|anthropic-beta$)/

/**
 * The hash by which a call is known again; null when its client does not say how often it has tried, or has a key for that.
 * Of the bytes as they came: whoever sends a call again sends the same, and to put many megabytes in order takes longer.
 */
export function hashBody({ headers, routeOptions }: FastifyRequest, text: string): string | null {
  if (headers[TRIES] === undefined || headers['idempotency-key'] !== undefined) return null
  return routeOptions.config.isFoundAgain ? hash('sha256', text, 'base64url') : null
}

/**
 * What a call is known by when it comes again: whose it is, where it went, what steers it and its body, credentials included;
 * keyed, so that nothing of that can be guessed from Redis.
 */
export function identifyCall(
  { headers, url, principal, bodyHash }: FastifyRequest,
  customer: string | null,
  ids: Ids,
): JobInput['sameCall'] {
  if (bodyHash === null) return null
  const { tenant, keyId } = principal
  const parts = JSON.stringify([tenant, keyId, customer, url, steering(headers), bodyHash])
  return { fingerprint: ids.fingerprint('same call', parts), isRetry: Number(headers[TRIES]) >= 1 }
}

function steering(headers: IncomingHttpHeaders): string[] {
  const named: string[] = []
  for (const [name, value] of Object.entries(headers)) {
    if (STEERING.test(name)) named.push(`${name}:${String(value)}`)
  }
  // A balancer may give them another order.
  return named.toSorted()
}
