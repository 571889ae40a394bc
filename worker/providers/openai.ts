import type { Outbound } from '../outbound.ts'
import { plainError } from './classify.ts'
import { appendPath, CALL_LIMITS, OPENAI_PATHS, postOpenai, type CallLimits } from './openai-call.ts'
import type { Provider } from './provider.ts'

/**
 * OpenAI and everything that speaks its API: `POST {base}/chat/completions` and its like with a bearer key. The body goes out
 * as it came but for the model, the answer comes back byte for byte.
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
      const url = appendPath(base, OPENAI_PATHS[call.endpoint])
      return postOpenai(outbound, call, { url, credential }, limits)
    },
  }
}
