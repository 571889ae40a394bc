import type { Plan } from '../shared/schemas/plan.ts'
import { plainError } from './providers/classify.ts'
import type { ProviderError } from './providers/provider.ts'

type Switch = NonNullable<Plan['first_failure']>

const NAMES: Record<Switch, string> = {
  fallbacks: 'mock_testing_fallbacks',
  context: 'mock_testing_context_fallbacks',
  content: 'mock_testing_content_policy_fallbacks',
  rate_limit: 'mock_testing_rate_limit_error',
}

/**
 * How the first call of a job fails that asked for it (LiteLLM's `mock_testing_*`): nobody is called, no deployment cools,
 * and all further calls are real. The three about fallbacks use no retry.
 */
export function failFirst(what: Switch): ProviderError {
  const message = `This call was not made: the request set \`${NAMES[what]}\`.`
  switch (what) {
    case 'fallbacks':
      return { ...plainError('internal_server', message), status: 500, isRetryable: false }
    case 'context':
      return { ...plainError('context_window_exceeded', message), status: 400 }
    case 'content':
      return { ...plainError('content_policy_violation', message), status: 400 }
    case 'rate_limit':
      return { ...plainError('rate_limit', message), status: 429 }
  }
}
