/** What a tenant, or one of its customers, is limited to; null: not limited in this. */
export type LimitNumbers = {
  requestsPerMinute: number | null
  /** Accepted jobs that are neither running nor about to. */
  jobsWaiting: number | null
  /** Records with their prompts and results, and what is kept free for results to come. */
  bytesStored: number | null
  /** Millionths of a dollar, spent or held for jobs under way, in a UTC day. */
  microUsdPerDay: number | null
}

/** What a job may take and what it takes, decided in the script that writes it. */
export type Admission = {
  tenant: LimitNumbers
  /** Null: it has no customer, or one without limits. */
  customer: LimitNumbers | null
  /** What it may cost, held until it ends; 0: not known. */
  holdMicroUsd: number
  /** What its result may take, kept free until it ends. */
  resultBytes: number
}

/** Why a job was not taken. Nothing was stored. */
export type Refusal = {
  whose: 'tenant' | 'customer'
  limit: 'requests' | 'waiting' | 'bytes' | 'budget'
  /** When it is worth another try. */
  retryAfterMs: number
}

/** Limits as `create-job` reads them: of the tenant, then of the customer. */
export function limitsJson(admission: Admission | null): string {
  if (admission === null) return ''
  const { tenant, customer } = admission
  return JSON.stringify(customer === null ? [numbersOf(tenant)] : [numbersOf(tenant), numbersOf(customer)])
}

function numbersOf(limits: LimitNumbers): number[] {
  const { requestsPerMinute, jobsWaiting, bytesStored, microUsdPerDay } = limits
  return [requestsPerMinute, jobsWaiting, bytesStored, microUsdPerDay].map((limit) => limit ?? -1)
}

/** What `create-job` says of a job that it did not take. */
export function readRefusal(whose: string, limit: string, retryAfterMs: number): Refusal {
  return {
    whose: whose as Refusal['whose'], // the script has no other words
    limit: limit as Refusal['limit'],
    retryAfterMs,
  }
}
