import type { ErrorClass } from '../../shared/schemas/error-class.ts'
import type { OutboundErrorKind } from '../outbound-error.ts'

/** Classes of one deployment's trouble that may be over at the next try. */
export const RETRYABLE: ReadonlySet<ErrorClass> = new Set([
  'timeout',
  'rate_limit',
  'internal_server',
  'bad_gateway',
  'service_unavailable',
  'api_connection',
  'response_invalid',
])

/** What a status means when the provider's own words say nothing more exact. Any other is `api_error`. */
export const BY_STATUS: Record<number, ErrorClass> = {
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

/** Providers' own codes, reasons and types of 4xx answers, in lower case; they say more than the status, and never less. */
export const BY_CODE: ReadonlyMap<string, ErrorClass> = new Map(
  Object.entries({
    context_length_exceeded: 'context_window_exceeded',
    context_window_exceeded: 'context_window_exceeded',
    exceed_context_size_error: 'context_window_exceeded',
    model_max_prompt_tokens_exceeded: 'context_window_exceeded',
    tokens_limit_reached: 'context_window_exceeded',
    // One field is too long, not the whole: another model refuses it as well.
    string_above_max_length: 'bad_request',
    content_filter: 'content_policy_violation',
    content_policy_violation: 'content_policy_violation',
    responsibleaipolicyviolation: 'content_policy_violation',
    moderation_blocked: 'content_policy_violation',
    invalid_api_key: 'authentication',
    invalid_authentication: 'authentication',
    authentication_error: 'authentication',
    unauthenticated: 'authentication',
    // Google's ErrorInfo, beside a 400.
    api_key_invalid: 'authentication',
    // Amazon's, beside a 403.
    expiredtokenexception: 'authentication',
    unrecognizedclientexception: 'authentication',
    invalidsignatureexception: 'authentication',
    missingauthenticationtokenexception: 'authentication',
    // A 429 that no waiting mends: the account is out of money.
    insufficient_quota: 'payment_required',
    billing_hard_limit_reached: 'payment_required',
    billing_not_active: 'payment_required',
    insufficient_balance: 'payment_required',
    exceeded_current_quota_error: 'payment_required',
    billing_error: 'payment_required',
    model_not_found: 'not_found',
    model_not_available: 'not_found',
    model_not_supported: 'not_found',
    model_decommissioned: 'not_found',
    invalid_model: 'not_found',
    deploymentnotfound: 'not_found',
    resourcenotfoundexception: 'not_found',
    accessdeniedexception: 'permission_denied',
    rate_limit_exceeded: 'rate_limit',
    rate_limit_error: 'rate_limit',
    throttlingexception: 'rate_limit',
    // The model itself failed (424) or stopped (408), which is no fault of the request.
    modelerrorexception: 'internal_server',
    modeltimeoutexception: 'timeout',
    // Groq's flex tier (498).
    capacity_exceeded: 'service_unavailable',
  } satisfies Record<string, ErrorClass>),
)

/** Names that say nothing beside a status of their own, but all there is in an error that came with a 200. */
export const BY_CODE_ALONE: ReadonlyMap<string, ErrorClass> = new Map(
  Object.entries({
    invalid_request_error: 'bad_request',
    invalid_argument: 'bad_request',
    permission_error: 'permission_denied',
    permission_denied: 'permission_denied',
    not_found_error: 'not_found',
    not_found: 'not_found',
    resource_exhausted: 'rate_limit',
    api_error: 'internal_server',
    server_error: 'internal_server',
    internal: 'internal_server',
    internal_server_error: 'internal_server',
    overloaded_error: 'service_unavailable',
    unavailable: 'service_unavailable',
    timeout_error: 'timeout',
    deadline_exceeded: 'timeout',
  } satisfies Record<string, ErrorClass>),
)

type TextRule = { statuses: ReadonlySet<number>; pattern: RegExp; class: ErrorClass }

const WRONG_REQUEST = new Set([400, 413, 422])

/**
 * A limit that one request is above by itself: no wait mends it, a model with more room does. Groq answers 413, OpenAI
 * 429, both with the code of any other rate limit; waiting for it would rest the key for everyone, again and again.
 */
export const TOO_LARGE: TextRule = {
  statuses: new Set([413, 429]),
  pattern: /^request too large for .*limit:? \d+,? requested:? \d+/is,
  class: 'context_window_exceeded',
}

/** Only looked at when no name is known, and only beside these statuses. */
export const BY_TEXT: readonly TextRule[] = [
  {
    statuses: WRONG_REQUEST,
    pattern: new RegExp(
      [
        'exceed context limit',
        'maximum context length',
        'maximum context limit',
        'maximum prompt length is',
        "longer than the model's context length",
        'longer than the maximum model length',
        'input tokens exceed the configured limit',
        '`inputs` tokens \\+ `max_new_tokens` must be',
        'exceeds the available context size',
        'exceeds the maximum number of tokens allowed',
        '(?:prompt|input) is too long',
        'too many tokens: ',
        "^(?!.*invalid 'user').*string too long\\. expected a string with maximum length",
        'current length is.*while limit is',
        'ContextWindowExceededError',
      ].join('|'),
      'is',
    ),
    class: 'context_window_exceeded',
  },
  {
    statuses: new Set([400, 403, 413, 422]),
    pattern:
      /content_policy_violation|responsibleaipolicyviolation|content management policy|as a result of our safety system|the model produced invalid content|content_filter_policy|blocked by content filtering policy|content violates usage guidelines|ContentPolicyViolationError/i,
    class: 'content_policy_violation',
  },
  // xAI and Google say so with a 400.
  {
    statuses: WRONG_REQUEST,
    pattern: /incorrect api key provided|api key not valid|api key expired/i,
    class: 'authentication',
  },
  // Anthropic with a 400, xAI with a 403, Fireworks with a 412.
  {
    statuses: new Set([400, 403, 412, 429]),
    pattern:
      /credit balance is too low|doesn't have any credits|account \S+ is suspended.*(?:spending limit|invoices)/is,
    class: 'payment_required',
  },
]

/** What a call without an answer means. */
export const BY_KIND: Record<OutboundErrorKind, ErrorClass> = {
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

/** OpenAI's `type` of each class, where the provider has none. */
export const TYPES: Record<ErrorClass, string> = {
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
