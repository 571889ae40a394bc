import type { ErrorClass } from '../shared/schemas/error-class.ts'
import type { Plan } from '../shared/schemas/plan.ts'
import { plainError } from './providers/classify.ts'
import type { ProviderError } from './providers/provider.ts'

type Switch = NonNullable<Plan['first_failure']>

type Played = { class: ErrorClass; status: number; isRetryable?: boolean; name: string }

const PLAYED: Record<Switch, Played> = {
  fallbacks: {
    class: 'internal_server',
    status: 500,
    isRetryable: false,
    name: 'mock_testing_fallbacks',
  },
  context: { class: 'context_window_exceeded', status: 400, name: 'mock_testing_context_fallbacks' },
  content: { class: 'content_policy_violation', status: 400, name: 'mock_testing_content_policy_fallbacks' },
  rate_limit: { class: 'rate_limit', status: 429, name: 'mock_testing_rate_limit_error' },
}

/**
 * How the first call of a job fails that asked for it (LiteLLM's `mock_testing_*`): nobody is called, no deployment cools,
 * and all further calls are real. The three about fallbacks use no retry.
 */
export function failFirst(what: Switch): ProviderError {
  const { name, class: errorClass, ...played } = PLAYED[what]
  return { ...plainError(errorClass, `This call was not made: the request set \`${name}\`.`), ...played }
}
