import { z } from 'zod'
import { Customer } from './completion.ts'

const Count = z.int().min(0).max(Number.MAX_SAFE_INTEGER).nullable().optional()
const Seconds = z.int().min(0).max(Number.MAX_SAFE_INTEGER).nullable().optional()
const UnixSeconds = z.number().int()

/** What a tenant, or one of its customers, may have at most. Null or left out: no such limit. */
export const Limits = z.strictObject({
  requests_per_minute: Count,
  jobs_waiting: Count,
  bytes_stored: Count,
  jobs_concurrent: Count,
  usd_per_day: z.number().min(0).max(1_000_000_000).nullable().optional(),
})
export type Limits = z.infer<typeof Limits>

/**
 * How long what a tenant has is kept, in seconds, and how many bytes of ended results, of which the oldest go first. They
 * hold below the gateway's own settings; null or left out: those alone.
 */
export const Retention = z.strictObject({
  results_seconds: Seconds,
  results_bytes: Count,
  batches_seconds: Seconds,
  files_seconds: Seconds,
  events_seconds: Seconds,
  deliveries_seconds: Seconds,
})
export type Retention = z.infer<typeof Retention>

/** Id of a tenant, as its maker chose it. */
export const TenantId = z.string().regex(/^[A-Za-z0-9_-]{1,64}$/, '1 to 64 letters, digits, `_` or `-`')

const settings = {
  name: z.string().min(1).max(256).nullable(),
  limits: Limits,
  /** Of each customer that `customers` does not name. */
  customer_limits: Limits,
  customers: z.record(Customer, Limits).refine((named) => Object.keys(named).length <= 1_000, 'at most 1000'),
  retention: Retention,
}

/** A tenant, as stored and as shown. Times are Unix seconds. */
export const Tenant = z.strictObject({
  id: TenantId,
  object: z.literal('tenant'),
  created_at: UnixSeconds,
  /** Since when its keys are refused; null: they work. */
  disabled_at: UnixSeconds.nullable(),
  ...settings,
})
export type Tenant = z.infer<typeof Tenant>

/** What may be set when a tenant is made, and changed later: a group that is given takes the place of the whole group. */
export const TenantSettings = z.strictObject(settings).partial()
export type TenantSettings = z.infer<typeof TenantSettings>
