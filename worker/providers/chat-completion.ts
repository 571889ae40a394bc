import type { OutboundResponse } from '../exchange.ts'
import type { Outbound } from '../outbound.ts'
import { classifyAnswer, classifyFailure, invalidAnswer, ownFault } from './classify.ts'
import { isObject, parseJson } from './error-body.ts'
import type { CallOutcome, ProviderCall } from './provider.ts'
import { createRedact } from './redact.ts'
import { readUsage } from './usage.ts'

const CONNECT_MS = 10_000
const IDLE_MS = 120_000
const RESPONSE_BYTES_MAX = 10 * 1024 * 1024
const REQUEST_ID_HEADERS = ['x-request-id', 'request-id', 'apim-request-id']

/**
 * One chat completion in OpenAI's form: POSTs the body and reads the answer, whose bytes are kept as they came.
 * @param target.credential The one header that carries this bundle's secret; an extra header can't replace it.
 */
export async function postChatCompletion(
  outbound: Outbound,
  { bundle, body: fields, timeoutMs, signal }: ProviderCall,
  target: { url: string; credential: Record<string, string> },
): Promise<CallOutcome> {
  const body = JSON.stringify(buildBody(bundle.params, fields, bundle.model))
  const headers = buildHeaders(bundle.headers, target.credential)
  let response: OutboundResponse
  try {
    response = await outbound.post({
      url: target.url,
      headers,
      body,
      timeouts: {
        connectMs: Math.min(CONNECT_MS, timeoutMs),
        firstByteMs: timeoutMs,
        idleMs: Math.min(IDLE_MS, timeoutMs),
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
    return readAnswer(response, () => createRedact(bundle))
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

function readAnswer(response: OutboundResponse, redact: () => ReturnType<typeof createRedact>): CallOutcome {
  const { status, headers, body } = response
  if (status < 200 || status >= 300) {
    return { kind: 'error', error: classifyAnswer(response, redact(), Date.now()) }
  }
  const parsed = parseJson(body)
  if (!isObject(parsed))
    return { kind: 'error', error: invalidAnswer(status, 'with a body that is no JSON object') }
  if (parsed['error'] !== undefined && parsed['error'] !== null) {
    return { kind: 'error', error: classifyAnswer(response, redact(), Date.now()) }
  }
  if (!Array.isArray(parsed['choices'])) {
    return { kind: 'error', error: invalidAnswer(status, 'with a body that is no chat completion') }
  }
  const rest = { isFiltered: false, headers: {}, restMs: null }
  const reply = { status, body, requestId: readRequestId(headers), usage: readUsage(parsed), ...rest }
  return { kind: 'reply', reply }
}

/** Deployment defaults, then the client's fields; what stood in an `extra_body` was put beside them when it was checked. */
function buildBody(params: Record<string, unknown>, body: Record<string, unknown>, model: string) {
  return { ...params, ...body, model }
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

function readRequestId(headers: OutboundResponse['headers']): string | null {
  const found = REQUEST_ID_HEADERS.map((name) => headers[name]).find((value) => typeof value === 'string')
  return typeof found === 'string' && /^[\w.:-]{1,128}$/.test(found) ? found : null
}
