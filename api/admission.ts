import type { Admission, LimitNumbers, Refusal } from '../shared/tenants/admission.ts'
import { holdOf, resultBytesOf, type AskedCall } from '../shared/jobs/call-costs.ts'
import { GatewayError } from '../shared/errors.ts'
import type { Plan } from '../shared/schemas/plan.ts'
import type { Limits, Tenant } from '../shared/schemas/tenant.ts'

// Above it the official SDKs do not wait, or wait too long.
const RETRY_AFTER_S_MAX = 60
const MICRO = 1_000_000

const REFUSALS: Record<Refusal['limit'], { code: string; says: string }> = {
  requests: { code: 'rate_limit_exceeded', says: 'has sent as many requests within a minute as it may' },
  waiting: { code: 'queue_full', says: 'has as many jobs waiting as it may' },
  bytes: { code: 'storage_quota_exceeded', says: 'has stored as much as it may: delete jobs, or wait' },
  budget: {
    code: 'insufficient_quota',
    says: 'has too little left of its budget of this day (UTC) for what this may cost',
  },
}

/** Whose limits hold for a call, and what it takes of them. */
export type AdmissionOf = {
  /** Null: it has no record, and no limits. */
  record: Tenant | null
  customer: string | null
}

/**
 * What a job may take and what it takes. What it takes is counted also where there is no limit, so that one that is set later
 * is right at once.
 */
export function admissionOf(who: AdmissionOf, plan: Plan, call: AskedCall): Admission {
  return { ...limitsOf(who), holdMicroUsd: holdOf(plan, call), resultBytes: resultBytesOf(call) }
}

/** The same of a batch, which counts as one request: its lines have their files, and take of the budget one by one. */
export function batchAdmissionOf(who: AdmissionOf): Admission {
  const { tenant, customer } = limitsOf(who)
  return { tenant: ofBatch(tenant), customer: customer && ofBatch(customer), holdMicroUsd: 0, resultBytes: 0 }
}

function ofBatch(limits: LimitNumbers): LimitNumbers {
  return { ...limits, jobsWaiting: null, bytesStored: null }
}

function limitsOf({ record, customer }: AdmissionOf): Pick<Admission, 'tenant' | 'customer'> {
  const tenant = numbersOf(record?.limits ?? {})
  return {
    tenant,
    customer: customer === null || !record ? null : numbersOf(customerLimits(record, customer)),
  }
}

/** What holds for a customer: what its tenant says of it by name, over what it says of each. */
export function customerLimits({ customer_limits: ofEach, customers }: Tenant, customer: string): Limits {
  return { ...ofEach, ...(Object.hasOwn(customers, customer) ? customers[customer] : {}) }
}

function numbersOf(limits: Limits): LimitNumbers {
  const { usd_per_day: usd } = limits
  return {
    requestsPerMinute: limits.requests_per_minute ?? null,
    jobsWaiting: limits.jobs_waiting ?? null,
    bytesStored: limits.bytes_stored ?? null,
    microUsdPerDay: typeof usd === 'number' ? Math.round(usd * MICRO) : null,
  }
}

/** 429: the tenant, or the customer, is at a limit. Nothing was stored. */
export function refusalError({ whose, limit, retryAfterMs }: Refusal): GatewayError {
  const { code, says } = REFUSALS[limit]
  const isBudget = limit === 'budget'
  const seconds = Math.max(1, Math.ceil(retryAfterMs / 1000))
  const type = isBudget ? 'insufficient_quota' : 'rate_limit_error'
  const message = `The ${whose} ${says}. GET /v1/limits tells how much is used, and when it clears.`
  return new GatewayError(429, type, code, message, {
    shouldRetry: !isBudget,
    retryAfterSeconds: isBudget ? seconds : Math.min(RETRY_AFTER_S_MAX, seconds),
  })
}
