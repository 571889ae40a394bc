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

/** Requests of the minute that ends now, as the script counted them. */
export type Used = { tenant: number; customer: number }

/** Why a job, or a batch, was not taken. Nothing was stored. */
export type Refusal = {
  whose: 'tenant' | 'customer'
  limit: 'requests' | 'waiting' | 'bytes' | 'budget'
  /** When it is worth another try. */
  retryAfterMs: number
  used: Used
  /** By the clock of Redis. */
  atMs: number
}

/** Limits as the scripts read them: of the tenant, then of the customer; '' when there are none. */
export function limitsJson(admission: Admission | null): string {
  if (admission === null) return ''
  const all = [admission.tenant, ...(admission.customer === null ? [] : [admission.customer])].map(numbersOf)
  return all.flat().every((limit) => limit === -1) ? '' : JSON.stringify(all)
}

function numbersOf(limits: LimitNumbers): number[] {
  const { requestsPerMinute, jobsWaiting, bytesStored, microUsdPerDay } = limits
  return [requestsPerMinute, jobsWaiting, bytesStored, microUsdPerDay].map((limit) => limit ?? -1)
}

/** What a script says of something that it did not take: whose limit, which, ms to wait, requests counted of both, ms of now. */
export function readRefusal(said: readonly unknown[]): Refusal {
  const [whose, limit, retryAfterMs, tenant, customer, atMs] = said
  return {
    whose: String(whose) as Refusal['whose'], // the scripts have no other words
    limit: String(limit) as Refusal['limit'],
    retryAfterMs: Number(retryAfterMs),
    used: { tenant: Number(tenant), customer: Number(customer) },
    atMs: Number(atMs),
  }
}
