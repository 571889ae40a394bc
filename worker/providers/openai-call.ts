import type { EndpointName } from '../../shared/jobs/endpoints.ts'
import type { OutboundResponse } from '../exchange.ts'
import type { Outbound } from '../outbound.ts'
import { breakOf, isAnswer, isFiltered, isTold } from './answers.ts'
import { classifyAnswer, classifyFailure, invalidAnswer, ownFault } from './classify.ts'
import { dropParams } from './drop.ts'
import { isObject, parseJson } from './error-body.ts'
import { createEventStream, isEventStream, type EventStream } from './event-stream.ts'
import type { CallOutcome, ProviderCall } from './provider.ts'
import { parseRestMs, pickHeaders } from './rate-headers.ts'
import { createRedact, type Redact } from './redact.ts'
import { renameParams } from './renamed-params.ts'
import { readUsage } from './usage.ts'

const RESPONSE_BYTES_MAX = 10 * 1024 * 1024
/** A stream says each token in some 250 bytes. */
const STREAM_BYTES_MAX = 64 * 1024 * 1024
/** A stream ends with its job's deadline, which is at most this far away. */
const STREAM_MS_MAX = 86_400_000
const REQUEST_ID_HEADERS = ['x-request-id', 'request-id', 'apim-request-id']

/** Caps of one call besides its own timeout, which stands for the first byte and for the whole. */
export type CallLimits = {
  /** Until connected, waiting for a socket included. */
  connectMs: number
  /** Between two pieces of an answer. */
  idleMs: number
}

export const CALL_LIMITS: CallLimits = { connectMs: 10_000, idleMs: 120_000 }

/** Where a call goes; the headers that carry the bundle's secret can't be replaced by extra headers. */
export type CallTarget = { url: string; credential: Record<string, string> }

/** Where OpenAI's API takes the requests of an endpoint, below its base. */
export const OPENAI_PATHS: Record<EndpointName, string> = {
  chat: '/chat/completions',
  responses: '/responses',
  messages: '/messages',
  completions: '/completions',
  embeddings: '/embeddings',
  moderations: '/moderations',
}

/** One call in the form of its endpoint: POSTs the body and reads the answer, whose bytes are kept as they came. */
export async function postOpenai(
  outbound: Outbound,
  call: ProviderCall,
  target: CallTarget,
  limits: CallLimits,
): Promise<CallOutcome> {
  const redact = redactOf(call, target)
  const stream = call.sink && createEventStream(call.endpoint, call.sink)
  const headers = buildHeaders(call, target.credential)
  // A body that can't be built is thrown from here: nobody was called. The text has no name, since a call that waits for its
  // answer would keep it all the while.
  const answer = outbound.post({
    url: target.url,
    headers,
    body: JSON.stringify(buildBody(call)),
    timeouts: timeoutsOf(call, limits),
    maxResponseBytes: RESPONSE_BYTES_MAX,
    maxStreamBytes: STREAM_BYTES_MAX,
    signal: call.signal,
    trustedOrigin: call.bundle.trusted_base,
    ...(stream ? { onHead: (head) => (isEventStream(head) ? stream.take : null) } : {}),
  })
  let response: OutboundResponse
  try {
    response = await answer
  } catch (error) {
    return { kind: 'error', error: classifyFailure(error), partial: stream?.partial() ?? null }
  }
  try {
    return stream ? readStream(response, stream, redact) : readWhole(response, call.endpoint, redact)
  } catch {
    return { kind: 'error', error: { ...ownFault(), isPossiblyBilled: true } }
  }
}

/** Takes out what the bundle holds in secret, and the token that was got for it. */
function redactOf({ bundle }: ProviderCall, { credential }: CallTarget): Redact {
  const token = credential['authorization']?.replace(/^Bearer /, '')
  return createRedact(token === undefined ? bundle : { ...bundle, headers: { ...bundle.headers, token } })
}

/** Clocks of one call: a stream may last as long as something comes. */
export function timeoutsOf({ timeoutMs, sink }: ProviderCall, limits: CallLimits) {
  return {
    connectMs: Math.min(limits.connectMs, timeoutMs),
    firstByteMs: timeoutMs,
    idleMs: Math.min(limits.idleMs, timeoutMs),
    totalMs: sink ? STREAM_MS_MAX : timeoutMs,
  }
}

/** Appends to a base's path; a query that the operator's base may carry stays behind it. */
export function appendPath(base: string, path: string): string {
  const [, start = '', query = ''] = /^([^?]*)(\?.*)?$/s.exec(base) ?? []
  const trimmed = start.replace(/\/+$/, '')
  return (trimmed.endsWith(path) ? trimmed : trimmed + path) + query
}

function readWhole(response: OutboundResponse, endpoint: EndpointName, redact: Redact): CallOutcome {
  const { status, body } = response
  if (status < 200 || status >= 300) return refused(response, redact)
  const parsed = parseJson(body)
  if (!isObject(parsed))
    return { kind: 'error', error: invalidAnswer(status, 'with a body that is no JSON object') }
  // The Responses API says of a response that failed why it did, in the field that others have for an error.
  if (isTold(parsed['error'])) return refused(response, redact)
  if (!isAnswer(endpoint, parsed)) {
    return { kind: 'error', error: invalidAnswer(status, `with a body that is no answer of ${endpoint}`) }
  }
  const broken = breakOf(parsed)
  if (broken === null) return reply(response, { body, whole: parsed }, redact)
  const told = refused({ ...response, body: Buffer.from(JSON.stringify({ error: broken })) }, redact)
  return { kind: 'error', error: { ...told.error, isPossiblyBilled: true } }
}

function readStream(response: OutboundResponse, stream: EventStream, redact: Redact): CallOutcome {
  const { status } = response
  if (status < 200 || status >= 300) return refused(response, redact)
  if (!isEventStream(response)) {
    return { kind: 'error', error: invalidAnswer(status, 'without a stream, which was asked for') }
  }
  const end = stream.end()
  if (end.kind === 'whole') return reply(response, end, redact)
  const partial = stream.partial()
  if (end.kind === 'cut') {
    const error = invalidAnswer(status, 'with a stream that ended too early')
    return { kind: 'error', error, partial }
  }
  const { error } = refused({ ...response, body: end.said }, redact)
  return { kind: 'error', error: { ...error, isPossiblyBilled: stream.hasBegun() }, partial }
}

function refused(response: OutboundResponse, redact: Redact) {
  return { kind: 'error', error: classifyAnswer(response, redact, Date.now()) } as const
}

function reply(
  { status, headers }: OutboundResponse,
  { body, whole }: { body: Buffer; whole: Record<string, unknown> },
  redact: Redact,
): CallOutcome {
  return {
    kind: 'reply',
    reply: {
      status,
      body,
      requestId: readRequestId(headers, redact),
      usage: readUsage(whole),
      isFiltered: isFiltered(whole),
      headers: pickHeaders(headers, redact),
      restMs: parseRestMs(headers, Date.now()),
    },
  }
}

/**
 * Deployment defaults, then the client's fields, then what wins over both; what stood in an `extra_body` was put beside them
 * when it was checked. Drops come last, the model after them.
 */
export function buildBody({ bundle, body, drop }: ProviderCall): Record<string, unknown> {
  const full = renameParams({ ...bundle.params, ...body, ...bundle.overrides }, bundle.provider)
  const kept = dropParams(dropParams(full, bundle.drop, bundle), drop, bundle)
  return { ...kept, ...restrictionsOf(bundle), model: bundle.model }
}

/** What the operator has put on every call with his key: no request changes it or takes it out. */
function restrictionsOf({ is_operators: isOperators, params }: ProviderCall['bundle']) {
  const { guardrailConfig } = params
  return isOperators && guardrailConfig !== undefined ? { guardrailConfig } : {}
}

function buildHeaders({ bundle, sink }: ProviderCall, credential: Record<string, string>) {
  const lowered = Object.entries(bundle.headers).map(([name, value]) => [name.toLowerCase(), value])
  return {
    accept: sink ? 'text/event-stream' : 'application/json',
    'user-agent': 'byok-gateway',
    ...Object.fromEntries(lowered),
    'content-type': 'application/json',
    ...credential,
  }
}

/** The provider's own id of the answer; null when it gave none that can be shown. */
export function readRequestId(headers: OutboundResponse['headers'], redact: Redact): string | null {
  const found = REQUEST_ID_HEADERS.map((name) => headers[name]).find((value) => typeof value === 'string')
  if (typeof found !== 'string' || !/^[\w.:-]{1,128}$/.test(found)) return null
  // A server may echo the key it was sent.
  return redact(found) === found ? found : null
}
