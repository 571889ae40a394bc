import type { AccountView, Accounts } from '../shared/tenants/accounts.ts'
import { roundUsd } from '../shared/routing/prices.ts'
import type { Limits, Tenant } from '../shared/schemas/tenant.ts'
import type { LimitSet, LimitsView, LimitUse } from '../shared/schemas/usage.ts'
import { usdOf } from '../shared/tenants/usage.ts'
import { customerLimits } from './admission.ts'

/** What a tenant, and one of its customers, may take, takes now, and when that clears. */
export async function readLimits(
  accounts: Accounts,
  { tenant, record }: { tenant: string; record: Tenant | null },
  customer: string | undefined,
): Promise<LimitsView> {
  const [own, theirs] = await Promise.all([
    accounts.read(tenant, null),
    customer === undefined ? null : accounts.read(tenant, customer),
  ])
  const ofCustomer = customer === undefined || !record ? {} : customerLimits(record, customer)
  return {
    object: 'limits',
    tenant: setOf(record?.limits ?? {}, own),
    customer: theirs && setOf(ofCustomer, theirs),
  }
}

function setOf(limits: Limits, view: AccountView): LimitSet {
  return {
    requests_per_minute: useOf(limits.requests_per_minute, view.requests, view.requestsClearMs),
    jobs_waiting: useOf(limits.jobs_waiting, view.jobsWaiting, null),
    jobs_concurrent: useOf(limits.jobs_concurrent, view.jobsConcurrent, null),
    bytes_stored: useOf(limits.bytes_stored, view.bytesStored, null),
    usd_per_day: useOf(limits.usd_per_day, usdOf(view.microUsd), view.microUsd > 0 ? view.dayEndsMs : null),
  }
}

function useOf(limit: number | null = null, used: number, clearsMs: number | null): LimitUse {
  return {
    limit,
    used,
    remaining: limit === null ? null : Math.max(0, roundUsd(limit - used)),
    resets_at: clearsMs === null ? null : Math.ceil(clearsMs / 1000),
  }
}
