import { z } from 'zod'
import { Customer } from './completion.ts'
import { DurabilityOption } from './job.ts'

const Count = z.int().min(0).max(Number.MAX_SAFE_INTEGER).nullable().optional()
const Seconds = z.int().min(0).max(Number.MAX_SAFE_INTEGER).nullable().optional()
const UnixSeconds = z.number().int()

const CUSTOMERS_MAX = 1_000

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
  customer_limits: Limits.describe('Of each customer.'),
  customers: z
    .record(Customer, Limits)
    .refine((named) => Object.keys(named).length <= CUSTOMERS_MAX, `It may name ${CUSTOMERS_MAX} at most`)
    .describe('Of customers by name. What is left out is as `customer_limits` has it; null: no such limit.'),
  retention: Retention,
  durability: DurabilityOption.describe(
    '`fsync`: what it submits is accepted only when it is on the disk of Redis, whatever a request says.',
  ),
}

/** A tenant, as stored and as shown. Times are Unix seconds. */
export const Tenant = z.strictObject({
  id: TenantId,
  object: z.literal('tenant'),
  created_at: UnixSeconds,
  /** Since when its keys are refused; null: they work. */
  disabled_at: UnixSeconds.nullable(),
  ...settings,
  // Records of before have none.
  durability: settings.durability.default('default'),
})
export type Tenant = z.infer<typeof Tenant>

/** What may be said of a tenant when it is made. */
export const TenantSettings = z.strictObject(settings).partial()
export type TenantSettings = z.infer<typeof TenantSettings>

/** A change of a tenant. A group that is given (`limits`, `customers`, ...) stands in the place of the whole group. */
export const TenantChange = TenantSettings.extend({
  disabled: z.boolean().optional().describe('Whether its keys are refused. What it has goes on.'),
})
export type TenantChange = z.infer<typeof TenantChange>
