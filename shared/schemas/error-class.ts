import { z } from 'zod'

/** Why a call failed: LiteLLM's exception classes in snake_case, and three of ours. Retries, fallbacks and cooldowns go by it. */
export const ErrorClass = z.enum([
  'bad_request',
  'context_window_exceeded',
  'content_policy_violation',
  'authentication',
  'payment_required',
  'permission_denied',
  'not_found',
  'timeout',
  'unprocessable_entity',
  'rate_limit',
  'internal_server',
  'bad_gateway',
  'service_unavailable',
  'api_error',
  'api_connection',
  'response_invalid',
  'egress_refused',
])
export type ErrorClass = z.infer<typeof ErrorClass>

/** Counts by error class. A class that is not named has none. */
export const CountsByClass = z.partialRecord(ErrorClass, z.number())
export type CountsByClass = z.infer<typeof CountsByClass>
