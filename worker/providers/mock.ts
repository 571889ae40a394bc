import { randomBytes } from 'node:crypto'
import { countTokens } from '../../shared/tokens.ts'
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
} as const

/** A deployment with `mock_response`: answers by itself and calls nobody. */
export const mock: Provider = {
  chat: (call) => Promise.resolve(answer(call)),
}

function answer(call: ProviderCall): CallOutcome {
  const canned = call.bundle.mock_response
  const failure = Object.entries(FAILURES).find(([text]) => text === canned)?.[1]
  if (failure) {
    const message = `This deployment's mock_response is ${String(canned)}.`
    return { kind: 'error', error: { ...plainError(failure.class, message), ...failure } }
  }
  const completion = {
    ...buildCompletion(call, typeof canned === 'string' ? canned : ''),
    ...(isObject(canned) ? canned : {}),
  }
  const body = Buffer.from(JSON.stringify(completion))
  const rest = { isFiltered: false, headers: {}, restMs: null }
  return {
    kind: 'reply',
    reply: { status: 200, body, requestId: null, usage: readUsage(completion), ...rest },
  }
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
