import { endpointAt, ENDPOINTS, type Endpoint } from './endpoints.ts'
import { InvalidRequestError } from '../errors.ts'
import { REQUESTS, type CompletionBody } from '../schemas/completion.ts'
import { describeIssue } from '../schema-issues.ts'

/**
 * @param field Where the path stood in what was sent.
 * @throws {InvalidRequestError} unless there is such an endpoint.
 */
export function findEndpoint(path: string, field = 'endpoint'): Endpoint {
  const endpoint = endpointAt(path)
  if (endpoint) return endpoint
  const served = ENDPOINTS.map((one) => one.path).join(', ')
  const message = `\`${field}\` is not served. What is served: ${served}.`
  throw new InvalidRequestError(message, field, 'unsupported_endpoint')
}

/**
 * The body of a completion that came by another door than its endpoint's own.
 * @param field Where it stood in what was sent; null: it was all of it.
 * @throws {InvalidRequestError} unless it is one of the endpoint's requests.
 */
export function readCompletion(
  endpoint: Endpoint,
  body: Record<string, unknown>,
  field: string | null = null,
): CompletionBody {
  const parsed = REQUESTS[endpoint.name].safeParse(body)
  if (!parsed.success) throw describeIssue(parsed.error, body, field === null ? [] : [field])
  checkStream(endpoint, body, field === null ? '' : `${field}.`)
  return parsed.data
}

/** @throws {InvalidRequestError} for a stream of what can't be streamed. */
export function checkStream(endpoint: Endpoint, body: Record<string, unknown>, bodyPath: string): void {
  if (
    endpoint.canStream ||
    body['stream'] === undefined ||
    body['stream'] === null ||
    body['stream'] === false
  )
    return
  const message = `${endpoint.path} has no streams: leave \`stream\` out, or set it to false.`
  throw new InvalidRequestError(message, `${bodyPath}stream`, 'unsupported_stream')
}
