import type { OutboundResponse } from '../exchange.ts'
import type { Outbound } from '../outbound.ts'
import { classifyAnswer, classifyFailure, invalidAnswer, ownFault } from './classify.ts'
import { dropParams } from './drop.ts'
import { isObject, parseJson } from './error-body.ts'
import type { CallOutcome, ProviderCall } from './provider.ts'
import { parseRestMs, pickHeaders } from './rate-headers.ts'
import { createRedact, type Redact } from './redact.ts'
import { readUsage } from './usage.ts'

const RESPONSE_BYTES_MAX = 10 * 1024 * 1024
const REQUEST_ID_HEADERS = ['x-request-id', 'request-id', 'apim-request-id']

/** Caps of one call besides its own timeout, which stands for the first byte and for the whole. */
export type CallLimits = {
  /** Until connected, waiting for a socket included. */
  connectMs: number
  /** Between two pieces of an answer. */
  idleMs: number
}

export const CALL_LIMITS: CallLimits = { connectMs: 10_000, idleMs: 120_000 }

/**
 * One chat completion in OpenAI's form: POSTs the body and reads the answer, whose bytes are kept as they came.
 * @param target.credential The one header that carries this bundle's secret; an extra header can't replace it.
 */
export async function postChatCompletion(
  outbound: Outbound,
  call: ProviderCall,
  target: { url: string; credential: Record<string, string> },
  limits: CallLimits,
): Promise<CallOutcome> {
  const { bundle, timeoutMs, signal } = call
  const body = JSON.stringify(buildBody(call))
  const headers = buildHeaders(bundle.headers, target.credential)
  let response: OutboundResponse
  try {
    response = await outbound.post({
      url: target.url,
      headers,
      body,
      timeouts: {
        connectMs: Math.min(limits.connectMs, timeoutMs),
        firstByteMs: timeoutMs,
        idleMs: Math.min(limits.idleMs, timeoutMs),
        totalMs: timeoutMs,
      },
      maxResponseBytes: RESPONSE_BYTES_MAX,
      signal,
      trustedOrigin: bundle.trusted_base,
    })
  } catch (error) {
    return { kind: 'error', error: classifyFailure(error) }
  }
  try {
    return readAnswer(response, createRedact(bundle))
  } catch {
    return { kind: 'error', error: { ...ownFault(), isPossiblyBilled: true } }
  }
}

/** Appends to a base's path; a query that the operator's base may carry stays behind it. */
export function appendPath(base: string, path: string): string {
  const [, start = '', query = ''] = /^([^?]*)(\?.*)?$/s.exec(base) ?? []
  const trimmed = start.replace(/\/+$/, '')
  return (trimmed.endsWith(path) ? trimmed : trimmed + path) + query
}

function readAnswer(response: OutboundResponse, redact: Redact): CallOutcome {
  const { status, headers, body } = response
  if (status < 200 || status >= 300) {
    return { kind: 'error', error: classifyAnswer(response, redact, Date.now()) }
  }
  const parsed = parseJson(body)
  if (!isObject(parsed))
    return { kind: 'error', error: invalidAnswer(status, 'with a body that is no JSON object') }
  if (isTold(parsed['error'])) {
    return { kind: 'error', error: classifyAnswer(response, redact, Date.now()) }
  }
  if (!Array.isArray(parsed['choices'])) {
    return { kind: 'error', error: invalidAnswer(status, 'with a body that is no chat completion') }
  }
  const broken = breakOf(parsed)
  if (broken !== null) {
    const answer = { status, headers, body: Buffer.from(JSON.stringify({ error: broken })) }
    const error = { ...classifyAnswer(answer, redact, Date.now()), isPossiblyBilled: true }
    return { kind: 'error', error }
  }
  const reply = {
    status,
    body,
    requestId: readRequestId(headers, redact),
    usage: readUsage(parsed),
    isFiltered: isFiltered(parsed),
    headers: pickHeaders(headers, redact),
    restMs: parseRestMs(headers, Date.now()),
  }
  return { kind: 'reply', reply }
}

/** Some send an empty `error` beside every completion. */
function isTold(error: unknown): boolean {
  return isObject(error) ? Object.keys(error).length > 0 : Boolean(error)
}

/**
 * Why the first choice of a completion broke off; null when it did not. OpenRouter says so in the choice of a 200, when the
 * host of the model failed while it was answering.
 * @see https://openrouter.ai/docs/api/reference/overview#completionsresponse-format
 */
function breakOf({ choices }: Record<string, unknown>): unknown {
  const first: unknown = Array.isArray(choices) ? choices[0] : null
  if (!isObject(first)) return null
  if (isTold(first['error'])) return first['error']
  if (first['finish_reason'] !== 'error') return null
  return { code: 502, message: 'The provider broke off its answer (finish_reason: error).' }
}

/** Whether the provider's content filter ended the first choice of a completion. */
export function isFiltered(completion: Record<string, unknown>): boolean {
  const { choices } = completion
  const first: unknown = Array.isArray(choices) ? choices[0] : null
  return isObject(first) && first['finish_reason'] === 'content_filter'
}

/**
 * Deployment defaults, then the client's fields, then what wins over both; what stood in an `extra_body` was put beside them
 * when it was checked. Drops come last, the model after them.
 */
function buildBody({ bundle, body, drop }: ProviderCall): Record<string, unknown> {
  const full = { ...bundle.params, ...body, ...bundle.overrides }
  const kept = dropParams(dropParams(full, bundle.drop, bundle), drop, bundle)
  return { ...kept, model: bundle.model }
}

function buildHeaders(extra: Record<string, string>, credential: Record<string, string>) {
  const lowered = Object.entries(extra).map(([name, value]) => [name.toLowerCase(), value])
  return {
    accept: 'application/json',
    'user-agent': 'byok-gateway',
    ...Object.fromEntries(lowered),
    'content-type': 'application/json',
    ...credential,
  }
}

function readRequestId(headers: OutboundResponse['headers'], redact: Redact): string | null {
  const found = REQUEST_ID_HEADERS.map((name) => headers[name]).find((value) => typeof value === 'string')
  if (typeof found !== 'string' || !/^[\w.:-]{1,128}$/.test(found)) return null
  // A server may echo the key it was sent.
  return redact(found) === found ? found : null
}
