import { z } from 'zod'
import { Customer } from './completion.ts'

const UnixSeconds = z.int()

/** One limit: how much it is, how much of it is used now, and when that clears (null: when jobs end or are deleted). */
const LimitUse = z.strictObject({
  limit: z.number().nullable().describe('Null: no limit.'),
  used: z.number(),
  remaining: z.number().nullable(),
  resets_at: UnixSeconds.nullable(),
})
export type LimitUse = z.infer<typeof LimitUse>

const LimitSet = z.strictObject({
  requests_per_minute: LimitUse,
  jobs_waiting: LimitUse,
  jobs_concurrent: LimitUse.describe('Jobs and lines of batches that run or are about to.'),
  bytes_stored: LimitUse.describe('With what is kept free for results to come.'),
  usd_per_day: LimitUse.describe('Spent this UTC day, and held for what is under way.'),
})
export type LimitSet = z.infer<typeof LimitSet>

/** What `GET /limits` answers. */
export const LimitsView = z.strictObject({
  object: z.literal('limits'),
  tenant: LimitSet,
  customer: LimitSet.nullable().describe('Of the one that is named in the query.'),
})
export type LimitsView = z.infer<typeof LimitsView>

export const LimitsQuery = z.strictObject({ customer: Customer.optional() })

export const USAGE_GROUPS = ['customer', 'key', 'model', 'day'] as const
export type UsageGroup = (typeof USAGE_GROUPS)[number]

const When = z
  .string()
  .regex(/^(\d{1,11}|\d{4}-\d{2}-\d{2})$/, 'Unix seconds, or a day as YYYY-MM-DD.')
  .optional()

/** Query of `GET /usage`. */
export const UsageQuery = z.strictObject({
  start: When.describe(
    'First day, in UTC: Unix seconds of some time in it, or YYYY-MM-DD. Six days before `end` unless given.',
  ),
  end: When.describe('Last day, in the same forms; it is among them. Today unless given.'),
  group_by: z
    .union([z.string(), z.array(z.string())])
    .optional()
    .describe(
      '`customer`, `key`, `model`, or several of them. A bucket is a day in any case, so `day` alone is one sum each.',
    ),
  limit: z.coerce.number().int().min(1).max(31).default(31).describe('Days of a page.'),
  page: z
    .string()
    .regex(/^\d{4}-\d{2}-\d{2}$/)
    .optional()
    .describe('`next_page` of the page before.'),
})
export type UsageQuery = z.infer<typeof UsageQuery>

const UsageResult = z.strictObject({
  object: z.literal('usage.result'),
  customer: z
    .string()
    .nullable()
    .describe('Null: not grouped by it, or none. `*`: many that are not told apart.'),
  key: z.string().nullable().describe('Id of the gateway key. Null: not grouped by it, or the master key.'),
  model: z.string().nullable(),
  requests: z.int().describe('Jobs and lines of batches that ended.'),
  completed: z.int().describe('Those that brought an answer.'),
  input_tokens: z.int(),
  output_tokens: z.int(),
  cost_usd: z.number(),
})
export type UsageResult = z.infer<typeof UsageResult>

const UsageBucket = z.strictObject({
  object: z.literal('bucket'),
  day: z.string(),
  start_time: UnixSeconds,
  end_time: UnixSeconds,
  results: z.array(UsageResult),
})
export type UsageBucket = z.infer<typeof UsageBucket>

/** A page of days, oldest first, in the shape of OpenAI's usage API. */
export const UsagePage = z.strictObject({
  object: z.literal('page'),
  data: z.array(UsageBucket),
  has_more: z.boolean(),
  next_page: z.string().nullable(),
})
export type UsagePage = z.infer<typeof UsagePage>
