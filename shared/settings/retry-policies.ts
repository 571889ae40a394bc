import { RETRIES_MAX } from './caps.ts'
import type { Notes } from './notes.ts'
import { capped } from './notes.ts'
import type { ErrorClass } from '../schemas/error-class.ts'
import type { CountsByClass } from '../schemas/error-class.ts'
import type { RetryPolicy } from '../schemas/plan.ts'
import type { AllowedFailsPolicyInput, RetryPolicyInput } from '../schemas/user-config.ts'

/** LiteLLM's exception names, and the classes that are of each: its subclasses of BadRequestError are that, too. */
const CLASSES_OF: Readonly<Record<string, readonly ErrorClass[]>> = {
  BadRequestError: [
    'bad_request',
    'unprocessable_entity',
    'context_window_exceeded',
    'content_policy_violation',
  ],
  AuthenticationError: ['authentication'],
  TimeoutError: ['timeout'],
  RateLimitError: ['rate_limit'],
  InternalServerError: ['internal_server'],
  ServiceUnavailableError: ['service_unavailable'],
  BadGatewayError: ['bad_gateway'],
  NotFoundError: ['not_found'],
  // Last: an entry of its own wins over the one of its parent.
  ContentPolicyViolationError: ['content_policy_violation'],
}

/** A `retry_policy` by error class; counts over the cap are lowered and named. */
export function readRetryPolicy(policy: RetryPolicyInput, path: string, notes: Notes): RetryPolicy {
  const { DefaultRetries: others, ...named } = policy
  const counts = byClass(named, 'Retries', (count, name) =>
    capped(count, RETRIES_MAX, `${path}.${name}`, notes),
  )
  const byDefault = capped(others ?? undefined, RETRIES_MAX, `${path}.DefaultRetries`, notes)
  return byDefault === null ? counts : { ...counts, default: byDefault }
}

/** An `allowed_fails_policy` by error class. */
export function readAllowedFails(policy: AllowedFailsPolicyInput): CountsByClass {
  return byClass(policy, 'AllowedFails', (count) => count)
}

function byClass(
  policy: Record<string, number | null | undefined>,
  suffix: string,
  read: (count: number, name: string) => number | null,
): CountsByClass {
  const counts: CountsByClass = {}
  for (const [exception, classes] of Object.entries(CLASSES_OF)) {
    const name = exception + suffix
    const given = policy[name]
    const count = given === undefined || given === null ? null : read(given, name)
    if (count === null) continue
    for (const errorClass of classes) counts[errorClass] = count
  }
  return counts
}
