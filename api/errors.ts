import type { Socket } from 'node:net'
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify'
import { cutEchoes } from '../shared/settings/echoes.ts'
import {
  GatewayError,
  InvalidRequestError,
  NotFoundError,
  StorageFullError,
  StorageReadonlyError,
  TooLargeError,
  UnavailableError,
  UnsupportedMediaTypeError,
} from '../shared/errors.ts'
import { newRequestId } from '../shared/ids.ts'
import { isRedisOutage, refusedWrite } from '../shared/redis-check.ts'
import { shapeError } from './error-shapes.ts'
import { namesOf } from './plugins/tracing.ts'

// Of a path that is not served, in the answer that says so.
const PATH_MAX = 200

/** Sends an error in OpenAI's shape, with the headers that the official SDKs obey. */
function sendError(reply: FastifyReply, error: GatewayError): FastifyReply {
  if (error.retryAfterSeconds !== null) void reply.header('retry-after', String(error.retryAfterSeconds))
  if (error.retryAfterMs !== null) void reply.header('retry-after-ms', String(error.retryAfterMs))
  if (error.shouldRetry !== null) void reply.header('x-should-retry', String(error.shouldRetry))
  const body = shapeError(reply, error.status, { error: cutEchoes(error.toBody().error) })
  return reply.code(error.status).type('application/json; charset=utf-8').send(body)
}

/** The one error handler: whatever was thrown leaves as a GatewayError. A 5xx is logged and tells nothing inside. */
export function handleError(error: unknown, request: FastifyRequest, reply: FastifyReply): void {
  const known = toGatewayError(error, request.routeOptions.bodyLimit)
  const line = { ...namesOf(request, reply), code: known.code }
  if (known.status >= 500 && known.cause !== undefined) {
    request.log.error({ ...line, err: known.cause }, 'A request failed')
  } else if (known.status >= 500) {
    request.log.warn(line, 'A request could not be served')
  }
  void reply.header('x-request-id', request.id)
  if (known.status === 413) letBodyCome(request, reply)
  void sendError(reply, known)
}

// A connection that is closed while its client still sends is reset, and the answer lost: what comes goes nowhere instead.
function letBodyCome({ raw }: FastifyRequest, reply: FastifyReply): void {
  void reply.removeHeader('connection')
  raw.resume()
}

/** 404 for a path that is not served. */
export function unknownRoute(request: FastifyRequest): NotFoundError {
  const path = request.originalUrl.split('?', 1)[0]?.slice(0, PATH_MAX)
  return new NotFoundError(`route: ${request.method} ${path}`)
}

/** Answers what never was a request (bad HTTP, headers too large) on the bare socket, in the same shape. */
export function handleClientError(error: Error & { code?: string }, socket: Socket): void {
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy()
    return
  }
  const [status, reason, message] = CLIENT_ERRORS[error.code ?? ''] ?? [
    400,
    'Bad Request',
    'This is not valid HTTP.',
  ]
  const body = JSON.stringify(
    new GatewayError(status, 'invalid_request_error', 'bad_http_request', message).toBody(),
  )
  socket.end(
    `HTTP/1.1 ${status} ${reason}\r\ncontent-type: application/json; charset=utf-8\r\n` +
      `x-request-id: ${newRequestId()}\r\nx-should-retry: false\r\nconnection: close\r\n` +
      `content-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
  )
}

const CLIENT_ERRORS: Record<string, [number, string, string]> = {
  HPE_HEADER_OVERFLOW: [431, 'Request Header Fields Too Large', 'The request headers are too large.'],
  HPE_CHUNK_EXTENSIONS_OVERFLOW: [413, 'Payload Too Large', 'The chunk extensions are too large.'],
  ERR_HTTP_REQUEST_TIMEOUT: [408, 'Request Timeout', 'The request did not arrive in time.'],
}

function toGatewayError(error: unknown, bodyBytesMax: number): GatewayError {
  if (error instanceof GatewayError) return error
  const refused = refusedWrite(error)
  if (refused === 'full') return new StorageFullError(error)
  if (refused === 'readonly') return new StorageReadonlyError(error)
  if (isRedisOutage(error)) return new UnavailableError(undefined, error)
  const { code = '', statusCode = 500 } = error instanceof Error ? (error as Partial<FastifyError>) : {}
  switch (code) {
    case 'FST_ERR_CTP_BODY_TOO_LARGE':
      return new TooLargeError(`The request body is larger than ${bodyBytesMax} bytes.`)
    case 'FST_ERR_CTP_INVALID_MEDIA_TYPE':
    case 'FST_ERR_CTP_EMPTY_TYPE':
      return new UnsupportedMediaTypeError(
        'Send the body as JSON with the header content-type: application/json.',
      )
    case 'FST_ERR_CTP_INVALID_CONTENT_LENGTH':
      return new InvalidRequestError('The body is not as long as content-length says.', null, 'invalid_body')
    case 'FST_ERR_BAD_URL':
    case 'FST_ERR_INVALID_URL':
      return new InvalidRequestError('The path of the URL is not valid.', null, 'invalid_url')
    case 'FST_ERR_MAX_PARAM_LENGTH':
      return new NotFoundError('object')
    default:
  }
  // Fastify's own 4xx that has no case above: its text is about the request, but is not ours to promise.
  if (code.startsWith('FST_ERR_') && statusCode >= 400 && statusCode < 500) {
    return new GatewayError(
      statusCode,
      'invalid_request_error',
      'invalid_request',
      'The request is not valid.',
      {
        shouldRetry: false,
      },
    )
  }
  // No retry by the SDKs: the failure may have come after the job was stored, and a second job is a second bill.
  const message = 'The gateway failed on this request. Its operator finds the cause by the request id.'
  return new GatewayError(500, 'server_error', 'internal_error', message, {
    shouldRetry: false,
    cause: error,
  })
}
