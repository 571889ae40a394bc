import { z } from 'zod'
import { Customer } from './completion.ts'
import { Metadata } from './job.ts'

/** Everything that a webhook endpoint can be told of. */
export const EventType = z.enum([
  'job.completed',
  'job.failed',
  'job.cancelled',
  'job.expired',
  'batch.completed',
  'batch.failed',
  'batch.expired',
  'batch.cancelled',
  'batch.in_progress',
  'batch.progress',
  'response.completed',
  'response.failed',
  'response.cancelled',
  'response.incomplete',
  'webhook_endpoint.disabled',
])
export type EventType = z.infer<typeof EventType>

/** Headers that are sent along: shown by name only, since their values are secrets as likely as not. */
const Headers = z
  .record(
    z.string().regex(/^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}$/, 'The name of a header'),
    z.string().regex(/^[\x20-\x7e]{0,2048}$/, 'At most 2,048 printable ASCII characters'),
  )
  .refine((headers) => Object.keys(headers).length <= 20, 'at most 20 headers')

const fields = {
  name: z.string().min(1).max(256),
  url: z.string().max(2048).describe('`https` and public, unless the operator opens networks.'),
  event_types: z.array(EventType).min(1).describe('What it is told of: see `/v1/webhook_event_types`.'),
  metadata: Metadata.nullish(),
  customer: Customer.nullish().describe("Only what is about this customer; without it all of the tenant's."),
  headers: Headers.nullish().describe('Sent along with each delivery; kept sealed, shown by name only.'),
  enabled: z.boolean().optional(),
}

/** What `POST /v1/webhook_endpoints` takes: OpenAI's fields, and what we take beside them. */
export const WebhookEndpointRequest = z.strictObject(fields)
export type WebhookEndpointRequest = z.infer<typeof WebhookEndpointRequest>

/** What an update takes: what is left out stays, each list and map is the whole new one. */
export const WebhookEndpointUpdate = z.strictObject({
  ...fields,
  name: fields.name.optional(),
  url: fields.url.optional(),
  event_types: fields.event_types.optional(),
})
export type WebhookEndpointUpdate = z.infer<typeof WebhookEndpointUpdate>

/** Why an endpoint is not sent to. `gone`: it answered 410; `failing`: nothing but failures for days. */
export const DisabledReason = z.enum(['manual', 'gone', 'failing'])
export type DisabledReason = z.infer<typeof DisabledReason>

/** A webhook endpoint as OpenAI serves it; behind `updated_at`, what we say beside that. Times are unix seconds. */
export const WebhookEndpoint = z.object({
  id: z.string(),
  object: z.literal('webhook_endpoint'),
  name: z.string(),
  url: z.string(),
  event_types: z.array(z.string()),
  signing_secret_hint: z.string().nullable(),
  created_at: z.int(),
  updated_at: z.int(),
  enabled: z.boolean(),
  disabled_at: z.int().nullable(),
  disabled_reason: DisabledReason.nullable(),
  customer: z.string().nullable(),
  metadata: z.record(z.string(), z.string()),
  headers: z.array(z.string()).describe('Names of those that are sent along.'),
})
export type WebhookEndpoint = z.infer<typeof WebhookEndpoint>

/** What is answered to a create and a rotation, and never again. */
export const WebhookEndpointWithSecret = WebhookEndpoint.extend({ signing_secret: z.string() })

export const WebhookEndpointList = z.object({
  object: z.literal('list'),
  data: z.array(WebhookEndpoint),
  first_id: z.string().nullable(),
  last_id: z.string().nullable(),
  has_more: z.boolean(),
})

export const DeletedWebhookEndpoint = z.object({
  id: z.string(),
  object: z.literal('webhook_endpoint.deleted'),
  deleted: z.literal(true),
})

/** The longest time for which an old secret signs along. */
const OVERLAP_S_MAX = 7 * 86_400

/** What a rotation takes: OpenAI's switch, or any other time. */
export const RotateSecretRequest = z.strictObject({
  keep_old_secret_active_for_24_hours: z.boolean().optional(),
  overlap_seconds: z
    .int()
    .min(0)
    .max(OVERLAP_S_MAX)
    .optional()
    .describe('For how long the old secret signs along; 0 unless given.'),
})
export type RotateSecretRequest = z.infer<typeof RotateSecretRequest>

export const WebhookTestRequest = z.strictObject({ event_type: EventType })

/** How a receiver answered a sample. */
export const WebhookTest = z.object({
  object: z.literal('webhook_endpoint.test'),
  event_type: z.string(),
  status_code: z.int(),
  success: z.literal(true).describe('It answered; with what, `status_code` says.'),
  webhook_endpoint_id: z.string(),
})

export const WebhookEventTypeList = z.object({ object: z.literal('list'), data: z.array(EventType) })

/** Query of a list that goes from page to page by id. */
export const PageQuery = z.strictObject({
  // The SDKs' types allow null, which they send as nothing behind the `=`.
  after: z
    .string()
    .transform((id) => (id === '' ? undefined : id))
    .optional()
    .describe('Last id of the page before.'),
  limit: z.coerce.number().int().min(1).max(100).default(20),
})

/** An event as it was sent, without what a receiver asked to have sent along. */
export const Event = z.object({
  id: z.string(),
  object: z.literal('event'),
  created_at: z.int(),
  type: z.string(),
  data: z.looseObject({ id: z.string() }),
})
export type Event = z.infer<typeof Event>

export const EventList = z.object({
  object: z.literal('list'),
  data: z.array(Event),
  first_id: z.string().nullable(),
  last_id: z.string().nullable(),
  has_more: z.boolean(),
})

export const EventListQuery = PageQuery.extend({
  type: EventType.optional(),
  subject: z.string().optional().describe('Id of the job, response or batch it is about.'),
})

/**
 * `gone`: the receiver answered 410. `disabled`: its endpoint was disabled or deleted before it was delivered. All but
 * `pending` are final until it is sent again.
 */
export const DeliveryState = z.enum(['pending', 'delivered', 'exhausted', 'gone', 'disabled'])
export type DeliveryState = z.infer<typeof DeliveryState>

/** A delivery of an event to one receiver. Of what the receiver answered only the status is kept. */
export const WebhookDelivery = z.object({
  id: z.string(),
  object: z.literal('webhook_delivery'),
  created_at: z.int(),
  status: DeliveryState.describe(
    '`exhausted`: all tries failed; `gone`: the receiver answered 410; `disabled`: its endpoint was disabled or deleted before.',
  ),
  event_id: z.string(),
  event_type: z.string(),
  subject: z.string().describe('Id of the job, batch or endpoint that it is about.'),
  webhook_endpoint_id: z.string().nullable().describe("Null: a job's or batch's own webhook."),
  /** Unix seconds with fraction, as below. */
  next_attempt_at: z.number().nullable(),
  attempts: z.array(
    z.object({
      number: z.int(),
      started_at: z.number(),
      duration_ms: z.number().nullable(),
      status_code: z.int().nullable(),
      error: z.string().nullable().describe('Why no answer came.'),
    }),
  ),
})
export type WebhookDelivery = z.infer<typeof WebhookDelivery>

export const WebhookDeliveryList = z.object({
  object: z.literal('list'),
  data: z.array(WebhookDelivery),
  first_id: z.string().nullable(),
  last_id: z.string().nullable(),
  has_more: z.boolean(),
})

export const EndpointDeliveriesQuery = PageQuery.extend({ status: DeliveryState.optional() })

export const DeliveryListQuery = EndpointDeliveriesQuery.extend({
  webhook_endpoint_id: z.string().optional(),
  subject: z.string().optional().describe('Id of the job, response, batch or endpoint that it is about.'),
})

/** Which of an endpoint's deliveries are sent again. Unix seconds. */
export const RecoverRequest = z.strictObject({
  since: z.int().min(0),
  until: z.int().min(0).optional().describe('Up to now unless given.'),
})

export const WebhookRecovery = z.object({
  object: z.literal('webhook_endpoint.recovery'),
  webhook_endpoint_id: z.string(),
  redelivered: z.int().describe('How many deliveries are sent again.'),
})
