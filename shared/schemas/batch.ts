import { z } from 'zod'
import { Customer } from './completion.ts'
import { DurabilityOption, Metadata, WebhookEndpointIds } from './job.ts'

/** Lines that may come in the create call itself; more go into a file. */
export const INLINE_LINES_MAX = 10_000

/** Batch states, in OpenAI's own words. */
export const BatchStatus = z.enum([
  'validating',
  'failed',
  'in_progress',
  'finalizing',
  'completed',
  'expired',
  'cancelling',
  'cancelled',
])

/** What a batch's webhook can be told of; the last two only when they are asked for by name. */
export const BatchEvent = z.enum([
  'batch.completed',
  'batch.failed',
  'batch.expired',
  'batch.cancelled',
  'batch.in_progress',
  'batch.progress',
])
export type BatchEvent = z.infer<typeof BatchEvent>

/** A batch's own webhook as a client gives it. */
export const BatchWebhook = z.strictObject({
  url: z.string().max(2048),
  secret: z.string().min(1).max(512).optional(),
  events: z.array(BatchEvent).min(1).optional(),
})
export type BatchWebhook = z.infer<typeof BatchWebhook>

/** One line of a batch that is given without a file. What its body must be, its endpoint says; that is looked at with the whole batch. */
const InlineLine = z.looseObject({
  custom_id: z.string().min(1).max(256),
  method: z.string().optional(),
  /** The batch's endpoint unless given. */
  url: z.string().optional(),
  body: z.looseObject({}),
})

/** What a new batch and a retry of an old one have in common. */
const options = {
  completion_window: z.string().describe('`24h`, or a number and `m`, `h` or `d`, from `5m` to `7d`.'),
  metadata: Metadata.nullish(),
  output_expires_after: z
    .strictObject({ anchor: z.literal('created_at'), seconds: z.int().min(3_600).max(2_592_000) })
    .nullish()
    .describe('When the output files go, counted from their creation.'),
  concurrency: z.int().min(1).max(10_000).nullish().describe('How many lines may be in flight at once.'),
  max_errors: z.int().min(0).nullish().describe('After more failed lines than that no new line is started.'),
  ordered_output: z.boolean().nullish().describe('Results in the order of the input.'),
  priority: z.enum(['high', 'normal', 'low']).nullish(),
  customer: Customer.nullish(),
  webhook: BatchWebhook.nullish(),
  webhook_endpoint_ids: WebhookEndpointIds.nullish(),
  durability: DurabilityOption.nullish(),
  idempotency_key: z
    .string()
    .regex(/^[\x21-\x7e]{1,255}$/, '1 to 255 printable ASCII characters without spaces')
    .optional(),
}

/**
 * What `POST /v1/batches` takes. Loose: every other field is a default of the lines (`user_config`, `api_key`, `num_retries`,
 * `fallbacks`, `temperature`, ...), which a line's own field of that name stands over.
 */
export const BatchRequest = z.looseObject({
  endpoint: z.string().describe('A path that is served, or `*` for lines with different ones.'),
  input_file_id: z.string().nullish(),
  requests: z.array(InlineLine).min(1).max(INLINE_LINES_MAX).nullish(),
  ...options,
})
export type BatchRequest = z.infer<typeof BatchRequest>

/**
 * What a retry takes. Loose as the create call: every other field is a default of the lines, over those that the batch had.
 */
export const BatchRetryRequest = z.looseObject({
  /** By `custom_id`: what was erased, anew. */
  credentials: z.record(z.string(), z.looseObject({})).nullish(),
  ...options,
  completion_window: options.completion_window.optional(),
})
export type BatchRetryRequest = z.infer<typeof BatchRetryRequest>

const UnixSeconds = z.int().nullable()
const Count = z.int()

/** A batch as OpenAI serves it, every field present; behind `metadata`, what we say beside that. Times are unix seconds. */
export const Batch = z.object({
  id: z.string(),
  object: z.literal('batch'),
  endpoint: z.string(),
  model: z.string().nullable(),
  errors: z
    .object({
      object: z.literal('list'),
      data: z.array(
        z.object({
          code: z.string(),
          message: z.string(),
          param: z.string().nullable(),
          line: z.int().nullable(),
        }),
      ),
    })
    .nullable(),
  input_file_id: z.string(),
  completion_window: z.string(),
  status: BatchStatus,
  output_file_id: z.string().nullable(),
  error_file_id: z.string().nullable(),
  created_at: z.int(),
  in_progress_at: UnixSeconds,
  expires_at: z.int(),
  finalizing_at: UnixSeconds,
  completed_at: UnixSeconds,
  failed_at: UnixSeconds,
  expired_at: UnixSeconds,
  cancelling_at: UnixSeconds,
  cancelled_at: UnixSeconds,
  request_counts: z.object({ total: Count, completed: Count, failed: Count }),
  usage: z.object({
    input_tokens: Count,
    input_tokens_details: z.object({ cached_tokens: Count }),
    output_tokens: Count,
    /** Providers say it in too many ways to be summed: always 0. */
    output_tokens_details: z.object({ reasoning_tokens: Count }),
    total_tokens: Count,
  }),
  metadata: z.record(z.string(), z.string()).nullable(),

  /** Lines by what they are at; `parked` ones wait for a time or a limit. */
  progress: z.object({
    queued: Count,
    in_progress: Count,
    parked: Count,
    completed: Count,
    failed: Count,
    expired: Count,
    cancelled: Count,
  }),
  /** USD over the calls whose cost is known; null when none is. */
  cost: z.number().nullable(),
  customer: z.string().nullable(),
  priority: z.enum(['high', 'normal', 'low']),
  concurrency: z.int().nullable(),
  max_errors: z.int().nullable(),
  ordered_output: z.boolean(),
  /** The batch whose lines are run again. */
  retry_of: z.string().nullable(),
  /** Until when the batch can be read once it has ended. */
  result_expires_at: UnixSeconds,
  /** What was clamped, ignored or may surprise. */
  warnings: z.array(z.string()),
})
export type Batch = z.infer<typeof Batch>

/** A page of batches in OpenAI's list shape. */
export const BatchList = z.object({
  object: z.literal('list'),
  data: z.array(Batch),
  first_id: z.string().nullable(),
  last_id: z.string().nullable(),
  has_more: z.boolean(),
})
