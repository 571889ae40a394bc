import type { Refusal } from '../shared/admission.ts'
import { GatewayError } from '../shared/errors.ts'

// Above it the official SDKs do not wait, or wait too long.
const RETRY_AFTER_S_MAX = 60

const REFUSALS: Record<Refusal['limit'], { code: string; says: string }> = {
  requests: { code: 'rate_limit_exceeded', says: 'has sent too many requests within a minute' },
  waiting: { code: 'queue_full', says: 'has as many jobs waiting as it may' },
  bytes: { code: 'storage_quota_exceeded', says: 'has stored as much as it may: delete jobs, or wait' },
  budget: { code: 'insufficient_quota', says: 'has spent its budget of this day (UTC)' },
}

/** 429: the tenant, or the customer, is at a limit. Nothing was stored. */
export function refusalError({ whose, limit, retryAfterMs }: Refusal): GatewayError {
  const { code, says } = REFUSALS[limit]
  const isBudget = limit === 'budget'
  const seconds = Math.max(1, Math.ceil(retryAfterMs / 1000))
  const type = isBudget ? 'insufficient_quota' : 'rate_limit_error'
  return new GatewayError(429, type, code, `The ${whose} ${says}.`, {
    shouldRetry: !isBudget,
    retryAfterSeconds: isBudget ? seconds : Math.min(RETRY_AFTER_S_MAX, seconds),
  })
}
