import type { Outbound } from '../outbound.ts'
import { appendPath, CALL_LIMITS, postChatCompletion, type CallLimits } from './chat-completion.ts'
import { plainError } from './classify.ts'
import type { Provider } from './provider.ts'

/**
 * OpenAI and everything that speaks its API: `POST {base}/chat/completions` with a bearer key. The body goes out as it
 * came but for the model, the answer comes back byte for byte.
 */
export function createOpenai(outbound: Outbound, limits: CallLimits = CALL_LIMITS): Provider {
  return {
    async call(call) {
      const { api_base: base, api_key: key, organization } = call.bundle
      if (base === null)
        return { kind: 'error', error: plainError('bad_request', 'The deployment has no api_base.') }
      const credential = {
        ...(key ? { authorization: `Bearer ${key}` } : {}),
        ...(organization ? { 'openai-organization': organization } : {}),
      }
      return postChatCompletion(
        outbound,
        call,
        { url: appendPath(base, '/chat/completions'), credential },
        limits,
      )
    },
  }
}
