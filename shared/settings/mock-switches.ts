import { invalid } from './notes.ts'
import { isInert, refuseReferences } from './refused-keys.ts'
import { REQUEST_FIELDS } from '../schemas/field-names.ts'
import type { CredentialBundle, Plan } from '../schemas/plan.ts'

/** LiteLLM's test switches of a request, as they stand in a bundle. */
export type Mock = Pick<CredentialBundle, 'mock_response' | 'mock_timeout' | 'mock_delay_s'>

const DELAY_S_MAX = 600

/**
 * The test switches of a request, for all its calls; null when it sets none.
 * @throws {InvalidRequestError} with the field's path.
 */
export function mockOf(gateway: Record<string, unknown>): Mock | null {
  const mock: Mock = {}
  const { mock_response: response, mock_delay: delay } = gateway
  if (!isInert(response)) {
    refuseReferences(response, 'mock_response')
    mock.mock_response = response
  }
  if (readSwitch(gateway, 'mock_timeout')) mock.mock_timeout = true
  if (delay !== undefined) {
    if (typeof delay !== 'number' || !(delay >= 0 && delay <= DELAY_S_MAX)) {
      throw invalid('mock_delay', `must be a number of seconds, 0 to ${DELAY_S_MAX}.`)
    }
    mock.mock_delay_s = delay
  }
  return Object.keys(mock).length > 0 ? mock : null
}

/** Whether a bundle answers by itself and calls nobody. */
export function isMocked(bundle: Mock): boolean {
  return !isInert(bundle.mock_response) || bundle.mock_timeout === true || bundle.mock_delay_s !== undefined
}

const FIRST_FAILURES = [
  ['mock_testing_fallbacks', 'fallbacks'],
  ['mock_testing_context_fallbacks', 'context'],
  ['mock_testing_content_policy_fallbacks', 'content'],
  ['mock_testing_rate_limit_error', 'rate_limit'],
] as const

/** How the first call is to fail; null: it is made. */
export function firstFailureOf(gateway: Record<string, unknown>): NonNullable<Plan['first_failure']> | null {
  return FIRST_FAILURES.find(([field]) => readSwitch(gateway, field))?.[1] ?? null
}

// LiteLLM takes them as text, too.
function readSwitch(gateway: Record<string, unknown>, field: string): boolean {
  const value = gateway[field] ?? false
  if (value === true || value === 'true') return true
  if (value === false || value === 'false') return false
  throw invalid(field, 'must be true or false.')
}

/**
 * Refuses test switches for models of the operator, who may allow them: a caller could fake failures of deployments that
 * others use.
 * @throws {InvalidRequestError} with the field's path.
 */
export function refuseMocks(gateway: Record<string, unknown>, isAllowed: boolean): void {
  if (isAllowed) return
  for (const key of REQUEST_FIELDS) {
    if (!key.startsWith('mock_') || isInert(gateway[key])) continue
    throw invalid(key, "is a test switch for your own deployments; this is one of the operator's models.")
  }
}
