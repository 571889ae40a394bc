import { z } from 'zod'

/** Job states, in OpenAI's own words. The last four are terminal. */
export const JobStatus = z.enum([
  'queued',
  'in_progress',
  'cancelling',
  'completed',
  'failed',
  'cancelled',
  'expired',
])
export type JobStatus = z.infer<typeof JobStatus>

/** States that never change again. */
export const TERMINAL_STATUSES: ReadonlySet<string> = new Set(['completed', 'failed', 'cancelled', 'expired'])

/** Why a job that does not run is not running. */
export const QueueState = z.enum(['delayed', 'waiting', 'rate_limited', 'retrying', 'active'])
export type QueueState = z.infer<typeof QueueState>

/** One call of one deployment, as shown to the job's owner: never a key, never a base URL. */
export const Attempt = z.object({
  /** 1-based, in the order the calls were started. */
  number: z.number().int(),
  deployment: z.string(),
  model_group: z.string(),
  provider: z.string(),
  /** Unix milliseconds. */
  started_at: z.number(),
  ended_at: z.number().nullable(),
  /** `in_flight` while the call runs; `lost` when its worker died; `aborted` on cancel or deadline. */
  outcome: z.enum(['in_flight', 'completed', 'failed', 'aborted', 'lost']),
  /** HTTP status of the provider; null when none came. */
  status_code: z.number().nullable(),
  /** LiteLLM's exception class in snake_case: `rate_limit`, `authentication`, `timeout`, ... */
  error_class: z.string().nullable(),
  /** Seconds the provider asked for. */
  retry_after: z.number().nullable(),
  /** The provider may have charged for a call whose result was lost. */
  possibly_billed: z.boolean(),
  input_tokens: z.number().nullable(),
  output_tokens: z.number().nullable(),
  /** USD; null when usage or price is not known. */
  cost: z.number().nullable(),
})
export type Attempt = z.infer<typeof Attempt>

export const JobError = z.object({
  message: z.string(),
  type: z.string(),
  param: z.string().nullable(),
  code: z.string().nullable(),
})
export type JobError = z.infer<typeof JobError>

export const Usage = z.object({
  input_tokens: z.number(),
  output_tokens: z.number(),
  total_tokens: z.number(),
  /** Part of the input that the provider had in its cache. */
  cached_input_tokens: z.number(),
})
export type Usage = z.infer<typeof Usage>

const UnixSeconds = z.number().int().nullable()

/** A job as served by `/v1/jobs`. Times are unix seconds. */
export const Job = z.object({
  id: z.string(),
  object: z.literal('job'),
  status: JobStatus,
  endpoint: z.string(),
  model: z.string(),
  provider: z.string().nullable(),
  customer: z.string().nullable(),
  created_at: z.number().int(),
  not_before: UnixSeconds,
  in_progress_at: UnixSeconds,
  completed_at: UnixSeconds,
  failed_at: UnixSeconds,
  cancelling_at: UnixSeconds,
  cancelled_at: UnixSeconds,
  expired_at: UnixSeconds,
  expires_at: z.number().int(),
  result_expires_at: UnixSeconds,
  priority: z.enum(['high', 'normal', 'low']),
  queue: z.object({
    name: z.string(),
    state: QueueState.nullable(),
    /** Its place among its customer's waiting jobs, 1 is next: an estimate by their priorities. Told by single reads only. */
    position: z.number().int().nullable(),
    /** Unix seconds with fraction: when a snoozed or delayed job runs next. */
    next_attempt_at: z.number().nullable(),
  }),
  attempts: z.array(Attempt),
  attempts_made: z.number().int(),
  attempts_max: z.number().int(),
  usage: Usage.nullable(),
  /** USD over all attempts whose cost is known; null when none is. */
  cost: z.number().nullable(),
  response: z
    .object({ status_code: z.number(), request_id: z.string().nullable(), body: z.unknown() })
    .nullable(),
  error: JobError.nullable(),
  metadata: z.record(z.string(), z.string()),
  /** The job that this one runs again, and the one that runs it again. */
  retry_of: z.string().nullable(),
  retried_by: z.string().nullable(),
  /** What was clamped, ignored or may surprise. */
  warnings: z.array(z.string()),
  urls: z.object({ self: z.string(), result: z.string(), events: z.string(), cancel: z.string() }),
})
export type Job = z.infer<typeof Job>

/** What happens to a job whose worker died with a call in flight. */
export const OnCrash = z.enum(['retry', 'fail'])
export type OnCrash = z.infer<typeof OnCrash>

/** Whether what is made must be on the disk of Redis before it is told of; `default`: as its tenant has it. */
export const DurabilityOption = z.enum(['default', 'fsync'])
export type DurabilityOption = z.infer<typeof DurabilityOption>

/** A per-job webhook as a client gives it. */
export const JobWebhook = z.strictObject({
  url: z.string().max(2048),
  secret: z.string().min(1).max(512).optional(),
  /** Every end as a job's unless given; of a response's own events those that are named. */
  events: z
    .array(
      z.enum([
        'job.completed',
        'job.failed',
        'job.cancelled',
        'job.expired',
        'response.completed',
        'response.failed',
        'response.cancelled',
        'response.incomplete',
      ]),
    )
    .min(1)
    .optional(),
  include_result: z.boolean().optional(),
})
export type JobWebhook = z.infer<typeof JobWebhook>

/** Which of the tenant's webhook endpoints are told of an end, if they want to hear of it; all that do unless given. */
export const WebhookEndpointIds = z.array(z.string().max(64)).max(100)

/** OpenAI's metadata: at most 16 pairs, key <= 64, value <= 512 characters. */
export const Metadata = z
  .record(z.string().min(1).max(64), z.string().max(512))
  .refine((pairs) => Object.keys(pairs).length <= 16, 'at most 16 pairs')

/** Options of a job that a client may give: on `POST /v1/jobs`, or in body field `job` of an OpenAI-shaped call. */
export const JobOptions = z.strictObject({
  webhook: JobWebhook.optional(),
  webhook_endpoint_ids: WebhookEndpointIds.optional(),
  metadata: Metadata.optional(),
  priority: z.enum(['high', 'normal', 'low']).optional(),
  /** Seconds from now before which it does not start; at most 30 days. */
  delay: z.number().min(0).max(2_592_000).optional(),
  /** Unix seconds before which it does not start, instead of `delay`; at most 30 days from now. */
  not_before: z.number().min(0).optional(),
  /** Seconds it may take in all, counted from its start time; else it ends `expired`. */
  expires_in: z.number().positive().max(2_592_000).optional(),
  idempotency_key: z
    .string()
    .regex(/^[\x21-\x7e]{1,255}$/, '1 to 255 printable ASCII characters without spaces')
    .optional(),
  /** Seconds the result is kept after the end; 0 purges it once it was delivered. */
  result_ttl: z.number().int().min(0).max(2_592_000).optional(),
  max_attempts: z.number().int().min(1).optional(),
  on_crash: OnCrash.optional(),
  /** `fsync`: accepted, and each call noted, only when that is on the disk of Redis. */
  durability: DurabilityOption.optional(),
})
export type JobOptions = z.infer<typeof JobOptions>
