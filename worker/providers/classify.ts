import type { ErrorClass } from '../../shared/schemas/error-class.ts'
import { parseRetryAfterMs } from '../backoff.ts'
import type { AnswerHeaders } from '../header-time.ts'
import { readHeader } from '../header-time.ts'
import { OutboundError } from '../outbound-error.ts'
import { isPage, parseJson, readAmazonName, readErrorBody, type ErrorBody } from './error-body.ts'
import {
  BY_CODE,
  BY_CODE_ALONE,
  BY_KIND,
  BY_STATUS,
  BY_TEXT,
  RETRYABLE,
  TOO_LARGE,
  TYPES,
} from './error-tables.ts'
import type { ProviderError } from './provider.ts'
import { parseRestMs, pickHeaders } from './rate-headers.ts'
import type { Redact } from './redact.ts'

const MESSAGE_CHARACTERS_MAX = 1_000

/** Gateways in front of a provider that stopped waiting: the model may have run to its end. */
const POSSIBLY_BILLED_STATUSES = new Set([504, 524])

type Answer = { status: number; headers: AnswerHeaders; body: Buffer }

/**
 * What a complete answer that is no completion means: by status and the provider's own code first, by text last. The
 * provider's message is passed on only from a known JSON shape, cut and redacted.
 */
export function classifyAnswer(answer: Answer, redact: Redact, nowMs: number): ProviderError {
  const body = readErrorBody(parseJson(answer.body))
  const amazonName = readAmazonName(readHeader(answer.headers, 'x-amzn-errortype'))
  const names = readNames(body, amazonName)
  const said = answer.status < 300 ? (body?.status ?? null) : answer.status
  const errorClass =
    said === null
      ? (classOfNames(names, true) ?? 'bad_gateway')
      : classOfStatus(said, names, body?.message ?? '')
  const status = said ?? statusOf(errorClass)
  return {
    class: errorClass,
    status,
    message: readable(body, redact) ?? describeStatus(answer.status),
    type: name(body?.type, redact) ?? TYPES[errorClass],
    param: body?.param && !isPage(body.param) ? clean(body.param, redact, 200) || null : null,
    code: name(body?.code ?? amazonName, redact) ?? (isRedirect(status) ? 'redirect_refused' : null),
    isRetryable: isRetryable(errorClass, status),
    retryAfterMs: readRetryAfter(answer, body, status, nowMs),
    isPossiblyBilled: POSSIBLY_BILLED_STATUSES.has(status),
    headers: pickHeaders(answer.headers, redact),
  }
}

/** A 2xx that holds no completion. It was answered, so it was probably paid for. */
export function invalidAnswer(status: number, what: string): ProviderError {
  const error = plainError('response_invalid', `The provider answered ${status} ${what}.`)
  return { ...error, code: 'response_invalid', isPossiblyBilled: true }
}

/** What a call without a complete answer means. */
export function classifyFailure(failure: unknown): ProviderError {
  if (!(failure instanceof OutboundError)) {
    return { ...plainError('api_connection', 'The call failed within the gateway.'), isPossiblyBilled: true }
  }
  const { kind, requestSent, message } = failure
  return { ...plainError(BY_KIND[kind], message), isPossiblyBilled: requestSent }
}

/** An error of our own making, not retried by provider's wish and not billed. */
export function plainError(errorClass: ErrorClass, message: string): ProviderError {
  return {
    class: errorClass,
    status: null,
    message,
    type: TYPES[errorClass],
    param: null,
    code: null,
    isRetryable: RETRYABLE.has(errorClass),
    retryAfterMs: null,
    isPossiblyBilled: false,
    headers: {},
  }
}

/** A fault of the gateway's own, before anything was sent. Trying again would meet it again. */
export function ownFault(): ProviderError {
  return plainError('api_error', 'The call failed within the gateway.')
}

function classOfStatus(status: number, names: string[], message: string): ErrorClass {
  if (isRedirect(status)) return 'api_error'
  // A 5xx is the provider's trouble, whatever it blames.
  const named = status < 500 ? classOfRequest(status, names, message.slice(0, 4_000)) : null
  return named ?? BY_STATUS[status] ?? 'api_error'
}

function classOfRequest(status: number, names: string[], message: string): ErrorClass | null {
  if (TOO_LARGE.statuses.has(status) && TOO_LARGE.pattern.test(message)) return TOO_LARGE.class
  const byName = classOfNames(names, false)
  if (byName) return byName
  return BY_TEXT.find(({ statuses, pattern }) => statuses.has(status) && pattern.test(message))?.class ?? null
}

/** @param isAlone There is no status that says more. */
function classOfNames(names: string[], isAlone: boolean): ErrorClass | null {
  const known = names.map((each) => BY_CODE.get(each) ?? (isAlone ? BY_CODE_ALONE.get(each) : undefined))
  return known.find((each) => each !== undefined) ?? null
}

/** What the provider calls its error, the most exact first, in lower case. */
function readNames(body: ErrorBody | null, amazonName: string | null): string[] {
  const names = [body?.reason, body?.code, amazonName, body?.type]
  return names.flatMap((each) => (each ? [each.toLowerCase()] : []))
}

function readRetryAfter(
  answer: Answer,
  body: ErrorBody | null,
  status: number,
  nowMs: number,
): number | null {
  const isRateLimited = status === 429
  return (
    parseRetryAfterMs(answer.headers, nowMs, isRateLimited) ??
    body?.retryAfterMs ??
    (isRateLimited ? parseRestMs(answer.headers, nowMs) : null)
  )
}

/** The status that an answer of 200 should have had. */
function statusOf(errorClass: ErrorClass): number {
  const known = Object.entries(BY_STATUS).find(([, candidate]) => candidate === errorClass)
  return known ? Number(known[0]) : 400
}

/** Unknown 4xx are not tried again, unknown 5xx are; 409 is what official SDKs retry besides. */
function isRetryable(errorClass: ErrorClass, status: number): boolean {
  if (errorClass !== 'api_error') return RETRYABLE.has(errorClass)
  return status >= 500 || status === 409
}

function isRedirect(status: number): boolean {
  return status >= 300 && status < 400
}

function describeStatus(status: number): string {
  if (isRedirect(status)) return `The provider answered with a redirect (${status}), which is never followed.`
  return `The provider answered ${status} without a readable error.`
}

/** The provider's message; null when there is none, or it holds a page instead. */
function readable(body: ErrorBody | null, redact: Redact): string | null {
  if (!body || isPage(body.message)) return null
  return clean(body.message, redact, MESSAGE_CHARACTERS_MAX) || null
}

function clean(text: string, redact: Redact, charactersMax: number): string {
  // Redacted whole, cut afterwards: half a key would not be recognised.
  const safe = redact(text.slice(0, 20_000)).trim()
  return safe.length > charactersMax ? `${safe.slice(0, charactersMax)}…` : safe
}

/** A code or type is a name; anything else that stands there is dropped. */
function name(value: string | null | undefined, redact: Redact): string | null {
  if (!value) return null
  const safe = redact(value)
  return /^[\w.:-]{1,64}$/.test(safe) ? safe : null
}
