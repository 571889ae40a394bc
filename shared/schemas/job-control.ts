import { z } from 'zod'
import { Customer } from './completion.ts'
import { JobOptions, Metadata } from './job.ts'

/**
 * What a retry of a job takes: options of the new job, over those that the old one had. Loose: beside them stand credentials,
 * and other fields of the gateway's, over those that the old one came with.
 */
export const JobRetryRequest = z.looseObject(JobOptions.shape)
export type JobRetryRequest = z.infer<typeof JobRetryRequest>

const UnixSeconds = z.number().int().min(0)

/** Which jobs are meant, as in a list. */
const filter = {
  endpoint: z.string().optional(),
  model: z.string().optional(),
  customer: Customer.optional(),
  metadata: Metadata.optional(),
  created_after: UnixSeconds.optional(),
  created_before: UnixSeconds.optional(),
}
const bounds = {
  limit: z.number().int().min(1).max(1_000).default(100),
  after: z.string().optional().describe('`last_id` of the call before: goes on behind it.'),
}

export const BulkCancelRequest = z.strictObject({
  filter: z.strictObject({ status: z.enum(['queued', 'in_progress']).optional(), ...filter }),
  ...bounds,
})
export type BulkCancelRequest = z.infer<typeof BulkCancelRequest>

/** `idempotency_key` counts for each job by itself, as it would in a retry of that job alone. */
export const BulkRetryRequest = z.looseObject({
  filter: z.strictObject({
    status: z
      .enum(['failed', 'expired', 'cancelled'])
      .optional()
      .describe('Failed and expired ones unless given.'),
    ...filter,
  }),
  ...bounds,
  ...JobOptions.shape,
})
export type BulkRetryRequest = z.infer<typeof BulkRetryRequest>

/** What became of the jobs that a filter matched. */
const outcome = {
  object: z.literal('bulk'),
  matched: z.number().int(),
  failed: z.array(z.object({ id: z.string(), code: z.string(), message: z.string() })),
  /** There may be more: a call with `after: last_id` goes on. */
  has_more: z.boolean(),
  last_id: z.string().nullable(),
}
export const BulkCancelled = z.object({ ...outcome, cancelled: z.number().int() })
export const BulkRetried = z.object({ ...outcome, retried: z.number().int() })
