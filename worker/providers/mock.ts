import { randomBytes } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import type { CredentialBundle } from '../../shared/schemas/plan.ts'
import { formatSse } from '../../shared/sse.ts'
import { countTokens } from '../../shared/routing/tokens.ts'
import { isFiltered } from './answers.ts'
import { plainError } from './classify.ts'
import { isObject } from './error-body.ts'
import type { CallOutcome, Provider, ProviderCall } from './provider.ts'
import { readUsage } from './usage.ts'

/** LiteLLM's strings that stand for a failure, and what each is. */
const FAILURES = {
  'litellm.RateLimitError': { class: 'rate_limit', status: 429, code: 'rate_limit_exceeded' },
  'litellm.ContextWindowExceededError': {
    class: 'context_window_exceeded',
    status: 400,
    code: 'context_length_exceeded',
  },
  'litellm.InternalServerError': { class: 'internal_server', status: 500, code: null },
  'litellm.ContentPolicyViolationError': {
    class: 'content_policy_violation',
    status: 400,
    code: 'content_policy_violation',
  },
  'litellm.AuthenticationError': { class: 'authentication', status: 401, code: 'invalid_api_key' },
  'litellm.Timeout': { class: 'timeout', status: 408, code: null },
  'litellm.ServiceUnavailableError': { class: 'service_unavailable', status: 503, code: null },
  'litellm.NotFoundError': { class: 'not_found', status: 404, code: 'model_not_found' },
  'litellm.BadRequestError': { class: 'bad_request', status: 400, code: null },
} as const

export type MockSwitch = 'mock_response' | 'mock_timeout' | 'mock_delay_s'

/** Whether a bundle calls nobody: one of its switches is set. */
export function isMocked(bundle: Pick<CredentialBundle, MockSwitch>): boolean {
  const { mock_response: canned, mock_timeout: isLate, mock_delay_s: delayS } = bundle
  return (canned !== undefined && canned !== null) || isLate === true || delayS !== undefined
}

/**
 * A deployment that answers by itself: with its `mock_response`, an empty text if it has none, after its delay; or not before
 * the call's timeout, as one whose delay is longer than that. An abort ends the wait at once.
 */
export const mock: Provider = {
  async call(call) {
    const { bundle, timeoutMs, signal } = call
    const delayMs = bundle.mock_timeout ? Infinity : (bundle.mock_delay_s ?? 0) * 1_000
    try {
      signal.throwIfAborted()
      if (delayMs > 0) await pause(Math.min(delayMs, timeoutMs), undefined, { signal })
    } catch {
      return { kind: 'error', error: plainError('api_connection', 'The call was given up.') }
    }
    if (delayMs < timeoutMs) return answer(call)
    return { kind: 'error', error: plainError('timeout', `No answer within ${timeoutMs} ms.`) }
  },
}

function answer(call: ProviderCall): CallOutcome {
  const canned = call.bundle.mock_response
  const name =
    typeof canned === 'string' && canned.startsWith('Exception: content_filter_policy')
      ? 'litellm.ContentPolicyViolationError'
      : canned
  const failure = Object.entries(FAILURES).find(([text]) => text === name)?.[1]
  if (failure) {
    const message = `This deployment's mock_response is ${String(name)}.`
    return { kind: 'error', error: { ...plainError(failure.class, message), ...failure } }
  }
  const completion = {
    ...buildCompletion(call, typeof canned === 'string' ? canned : ''),
    ...(isObject(canned) ? canned : {}),
  }
  const body = Buffer.from(JSON.stringify(completion))
  if (call.sink) call.sink.write(Buffer.from(streamOf(completion, call.body)))
  const rest = { isFiltered: isFiltered(completion), headers: {}, restMs: null }
  return {
    kind: 'reply',
    reply: { status: 200, body, requestId: null, usage: readUsage(completion), ...rest },
  }
}

/** A canned answer as the stream that a provider would have told it in, at once. */
function streamOf(completion: Record<string, unknown>, request: Record<string, unknown>): string {
  const { choices, usage, ...head } = completion
  const list = Array.isArray(choices) ? choices.filter(isObject) : []
  const chunk = (parts: object[]) =>
    formatSse({ data: JSON.stringify({ ...head, object: 'chat.completion.chunk', choices: parts }) })
  const told = list.flatMap(({ index = 0, message, finish_reason: reason = 'stop' }) => [
    chunk([{ index, delta: message, finish_reason: null }]),
    chunk([{ index, delta: {}, finish_reason: reason }]),
  ])
  const options = request['stream_options']
  const wantsUsage = isObject(options) && options['include_usage'] === true
  const last = { ...head, object: 'chat.completion.chunk', choices: [], usage }
  const counted = wantsUsage ? formatSse({ data: JSON.stringify(last) }) : ''
  return told.join('') + counted + formatSse({ data: '[DONE]' })
}

function buildCompletion({ bundle, body }: ProviderCall, text: string): Record<string, unknown> {
  const input = countTokens(body['messages'])
  const output = countTokens(text)
  return {
    id: `chatcmpl-${randomBytes(12).toString('hex')}`,
    object: 'chat.completion',
    created: Math.floor(Date.now() / 1000),
    model: bundle.model,
    choices: [
      {
        index: 0,
        message: { role: 'assistant', content: text, refusal: null },
        logprobs: null,
        finish_reason: 'stop',
      },
    ],
    usage: { prompt_tokens: input, completion_tokens: output, total_tokens: input + output },
  }
}
