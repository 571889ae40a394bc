import { parseRetryAfterMs } from '../backoff.ts'
import { OutboundError, type OutboundErrorKind } from '../outbound-error.ts'
import { parseJson, readErrorBody, type ErrorBody } from './error-body.ts'
import type { ErrorClass } from '../../shared/schemas/error-class.ts'
import type { ProviderError } from './provider.ts'
import type { Redact } from './redact.ts'

const MESSAGE_CHARACTERS_MAX = 1_000

/** Classes of one deployment's trouble that may be over at the next try. */
const RETRYABLE: ReadonlySet<ErrorClass> = new Set([
  'timeout',
  'rate_limit',
  'internal_server',
  'bad_gateway',
  'service_unavailable',
  'api_connection',
  'response_invalid',
])

const BY_STATUS: Record<number, ErrorClass> = {
  400: 'bad_request',
  401: 'authentication',
  402: 'payment_required',
  403: 'permission_denied',
  404: 'not_found',
  408: 'timeout',
  413: 'bad_request',
  422: 'unprocessable_entity',
  429: 'rate_limit',
  500: 'internal_server',
  502: 'bad_gateway',
  503: 'service_unavailable',
  504: 'timeout',
  // Cloudflare in front of a provider: 521 to 523 did not reach it, 524 stopped waiting for it. 529: Anthropic, overloaded.
  520: 'bad_gateway',
  521: 'bad_gateway',
  522: 'bad_gateway',
  523: 'bad_gateway',
  524: 'timeout',
  529: 'service_unavailable',
}

/** Providers' own codes and types of 4xx answers; they say more than the status, and never less. */
const BY_CODE: ReadonlyMap<string, ErrorClass> = new Map(
  Object.entries({
    context_length_exceeded: 'context_window_exceeded',
    context_window_exceeded: 'context_window_exceeded',
    exceed_context_size_error: 'context_window_exceeded',
    model_max_prompt_tokens_exceeded: 'context_window_exceeded',
    content_filter: 'content_policy_violation',
    content_policy_violation: 'content_policy_violation',
    responsibleaipolicyviolation: 'content_policy_violation',
    moderation_blocked: 'content_policy_violation',
    invalid_api_key: 'authentication',
    invalid_authentication: 'authentication',
    authentication_error: 'authentication',
    // A 429 that no waiting mends: the account is out of money.
    insufficient_quota: 'payment_required',
    billing_hard_limit_reached: 'payment_required',
    billing_not_active: 'payment_required',
    insufficient_balance: 'payment_required',
    exceeded_current_quota_error: 'payment_required',
    model_not_found: 'not_found',
    deploymentnotfound: 'not_found',
    rate_limit_exceeded: 'rate_limit',
    rate_limit_error: 'rate_limit',
  } satisfies Record<string, ErrorClass>),
)

/** Only looked at when neither code nor type is known, and only where the request is called wrong. */
const BY_TEXT: [RegExp, ErrorClass][] = [
  [
    /exceed context limit|maximum context length|maximum context limit|longer than the model's context length|input tokens exceed the configured limit|`inputs` tokens \+ `max_new_tokens` must be|exceeds the available context size|exceeds the maximum number of tokens allowed|prompt is too long|current length is.*while limit is/is,
    'context_window_exceeded',
  ],
  [
    /content_policy_violation|responsibleaipolicyviolation|content management policy|rejected as a result of our safety system|the model produced invalid content|content_filter_policy/i,
    'content_policy_violation',
  ],
  // xAI says so with a 400.
  [/incorrect api key provided/i, 'authentication'],
]

/** Where the text may tell a context window from a plain bad request. */
const TEXT_STATUSES = new Set([400, 413, 422])

/** Gateways in front of a provider that stopped waiting: the model may have run to its end. */
const POSSIBLY_BILLED_STATUSES = new Set([504, 524])

type Answer = { status: number; headers: Record<string, string | string[] | undefined>; body: Buffer }

/**
 * What a complete answer that is no completion means: by status and the provider's own code first, by text last. The
 * provider's message is passed on only from a known JSON shape, cut and redacted.
 */
export function classifyAnswer(answer: Answer, redact: Redact, nowMs: number): ProviderError {
  const body = readErrorBody(parseJson(answer.body))
  const said = answer.status < 300 ? (body?.status ?? null) : answer.status
  const errorClass = said === null ? (classOfBody(body) ?? 'bad_gateway') : classOfStatus(said, body)
  const status = said ?? statusOf(errorClass)
  return {
    class: errorClass,
    status,
    message: body ? clean(body.message, redact, MESSAGE_CHARACTERS_MAX) : describeStatus(answer.status),
    type: name(body?.type, redact) ?? TYPES[errorClass],
    param: body?.param ? clean(body.param, redact, 200) : null,
    code: name(body?.code, redact) ?? (isRedirect(status) ? 'redirect_refused' : null),
    isRetryable: isRetryable(errorClass, status),
    retryAfterMs: parseRetryAfterMs(answer.headers, nowMs, status === 429),
    isPossiblyBilled: POSSIBLY_BILLED_STATUSES.has(status),
    headers: {},
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

function classOfStatus(status: number, body: ErrorBody | null): ErrorClass {
  // A 5xx is the provider's trouble, whatever it blames.
  if (status >= 300 && status < 400) return 'api_error'
  const named = status < 500 ? classOfBody(body, TEXT_STATUSES.has(status)) : null
  return named ?? BY_STATUS[status] ?? 'api_error'
}

function classOfBody(body: ErrorBody | null, mayReadText = true): ErrorClass | null {
  if (!body) return null
  const byCode = BY_CODE.get(body.code?.toLowerCase() ?? '') ?? BY_CODE.get(body.type?.toLowerCase() ?? '')
  if (byCode || !mayReadText) return byCode ?? null
  return BY_TEXT.find(([pattern]) => pattern.test(body.message.slice(0, 4_000)))?.[1] ?? null
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

const BY_KIND: Record<OutboundErrorKind, ErrorClass> = {
  refused: 'egress_refused',
  connect: 'api_connection',
  timeout_connect: 'api_connection',
  timeout_first_byte: 'timeout',
  timeout_idle: 'timeout',
  timeout_total: 'timeout',
  too_large: 'response_invalid',
  aborted: 'api_connection',
  reset: 'api_connection',
  protocol: 'response_invalid',
}

const TYPES: Record<ErrorClass, string> = {
  bad_request: 'invalid_request_error',
  context_window_exceeded: 'invalid_request_error',
  content_policy_violation: 'invalid_request_error',
  authentication: 'authentication_error',
  payment_required: 'insufficient_quota',
  permission_denied: 'permission_error',
  not_found: 'not_found_error',
  timeout: 'timeout_error',
  unprocessable_entity: 'invalid_request_error',
  rate_limit: 'rate_limit_error',
  internal_server: 'server_error',
  bad_gateway: 'server_error',
  service_unavailable: 'server_error',
  api_error: 'api_error',
  api_connection: 'api_connection_error',
  response_invalid: 'api_error',
  egress_refused: 'invalid_request_error',
}
