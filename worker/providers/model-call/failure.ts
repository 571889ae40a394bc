import { AISDKError, APICallError, TypeValidationError } from '@ai-sdk/provider'
import { isTold } from '../answers.ts'
import { classifyAnswer, classifyFailure, invalidAnswer, ownFault, plainError } from '../classify.ts'
import { isObject, parseJson } from '../error-body.ts'
import { OutboundError } from '../../outbound-error.ts'
import type { ProviderError } from '../provider.ts'
import type { Redact } from '../redact.ts'
import type { ModelFetch } from './model-fetch.ts'
import { RequestFault } from './request-fault.ts'

/** Errors of the packages that blame what they were asked; all others blame the answer, or themselves. */
const REQUEST_ERRORS = new Set([
  'AI_UnsupportedFunctionalityError',
  'AI_InvalidArgumentError',
  'AI_InvalidPromptError',
  'AI_TypeValidationError',
])

/**
 * What a call means that a package threw out of. What came over the wire is looked at first, as it came: a package's own error
 * holds the whole prompt, and tells less.
 */
export function classifyThrown(thrown: unknown, sent: ModelFetch, redact: Redact): ProviderError {
  const failure = sent.failure()
  if (failure !== null) return classifyFailure(failure)
  const answer = sent.answer()
  if (answer) return classifyWhole(answer, redact)
  const head = sent.head()
  if (head) return classifyTold(thrown, head, redact)
  if (thrown instanceof OutboundError) return classifyFailure(thrown)
  return classifyUnsent(thrown)
}

/** An error that a stream told of in one of its events, or broke by. */
export function classifyTold(
  told: unknown,
  head: { status: number; headers: Parameters<typeof classifyAnswer>[0]['headers'] },
  redact: Redact,
): ProviderError {
  const said = readTold(told)
  if (!said) return invalidAnswer(head.status, 'with a stream that can not be read')
  const body = Buffer.from(JSON.stringify({ error: said.error }))
  return classifyAnswer(
    { status: said.status ?? head.status, headers: head.headers, body },
    redact,
    Date.now(),
  )
}

/** An answer that came to its end without saying that it is one. */
export function classifyCut(sent: ModelFetch, redact: Redact): ProviderError {
  const answer = sent.answer()
  if (answer) return classifyWhole(answer, redact)
  return invalidAnswer(sent.head()?.status ?? 200, 'with a stream that ended too early')
}

/** Events of Anthropic's that its package knows, and so must be as it knows them. */
const EVENTS = /^(?:message_(?:start|delta|stop)|content_block_(?:start|delta|stop)|ping|error)$/

/**
 * Whether what a package calls an error is only an event of a kind that it does not know, which is to be passed over.
 * @see https://docs.anthropic.com/en/docs/build-with-claude/streaming#other-events
 */
export function isUnknownEvent(told: unknown): boolean {
  if (!TypeValidationError.isInstance(told) || !isObject(told.value)) return false
  const { type } = told.value
  return typeof type === 'string' && !EVENTS.test(type)
}

function classifyWhole(answer: Parameters<typeof classifyAnswer>[0], redact: Redact): ProviderError {
  const { status, body } = answer
  if (status < 200 || status >= 300) return classifyAnswer(answer, redact, Date.now())
  const parsed = parseJson(body)
  if (!isObject(parsed)) return invalidAnswer(status, 'with a body that is no JSON object')
  if (isTold(parsed['error'])) return classifyAnswer(answer, redact, Date.now())
  return invalidAnswer(status, 'with a body that is no answer of its API')
}

/** Amazon's stream failing in the model: not the request's fault, and worth another try. */
const MODEL_FAILED = 424

function readTold(told: unknown): { status: number | null; error: Record<string, unknown> } | null {
  if (APICallError.isInstance(told)) {
    const error = parseJson(told.responseBody ?? '')
    return isObject(error) ? { status: told.statusCode ?? null, error } : null
  }
  if (!isObject(told) || told instanceof Error || typeof told['message'] !== 'string') return null
  const { statusCode, data, message, type } = told
  const fields = isObject(data) && typeof data['message'] === 'string' ? data : { message, type }
  const status = typeof statusCode === 'number' ? statusCode : null
  return { status: status === MODEL_FAILED ? 500 : status, error: fields }
}

/** Nothing was sent: the request can't be said, or the fault is ours. */
function classifyUnsent(thrown: unknown): ProviderError {
  if (thrown instanceof RequestFault) {
    const { message, param, code } = thrown
    return { ...plainError('bad_request', message), param, code }
  }
  if (AISDKError.isInstance(thrown) && REQUEST_ERRORS.has(thrown.name)) {
    const what = 'functionality' in thrown ? String(thrown.functionality).slice(0, 100) : null
    const message = what
      ? `This provider can't be sent this request: ${what}.`
      : "This provider can't be sent this request: one of its fields has a value that it does not take."
    return plainError('bad_request', message)
  }
  return ownFault()
}
