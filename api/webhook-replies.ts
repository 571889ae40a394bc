import { InvalidRequestError, NotFoundError } from '../shared/errors.ts'
import type { DeliveryView } from '../shared/webhooks/delivery-record.ts'
import type { WebhookDelivery, WebhookEndpoint } from '../shared/schemas/webhook.ts'
import type { EndpointRecord } from '../shared/webhooks/webhook-endpoint-record.ts'

/** An endpoint as its tenant sees it: no secret, and of headers only the names. */
export function toEndpoint(record: EndpointRecord): WebhookEndpoint {
  const { disabled } = record
  return {
    id: record.id,
    object: 'webhook_endpoint',
    name: record.name,
    url: record.url,
    event_types: record.eventTypes,
    signing_secret_hint: record.secrets.length === 0 ? null : hintOf(currentSecret(record)),
    created_at: toSeconds(record.createdMs),
    updated_at: toSeconds(record.updatedMs),
    enabled: disabled === null,
    disabled_at: disabled && toSeconds(disabled.atMs),
    disabled_reason: disabled && disabled.reason,
    customer: record.customer,
    metadata: record.metadata,
    headers: Object.keys(record.headers),
  }
}

/** The same with its secret: for the answers to a create and a rotation, and for no others. */
export function toEndpointWithSecret(record: EndpointRecord): WebhookEndpoint & { signing_secret: string } {
  return { ...toEndpoint(record), signing_secret: currentSecret(record) }
}

/** A delivery as its tenant sees it. */
export function toDelivery(view: DeliveryView): WebhookDelivery {
  return {
    id: view.id,
    object: 'webhook_delivery',
    created_at: toSeconds(view.createdMs),
    status: view.state,
    event_id: view.eventId,
    event_type: view.type,
    subject: view.subjectId,
    webhook_endpoint_id: view.endpointId,
    next_attempt_at: view.nextAttemptMs === null ? null : view.nextAttemptMs / 1000,
    attempts: view.attempts.map((attempt) => ({
      number: attempt.number,
      started_at: attempt.startedMs / 1000,
      duration_ms: attempt.durationMs,
      status_code: attempt.statusCode,
      error: attempt.error,
    })),
  }
}

/** A page in OpenAI's list shape. @param lastId Where the next page starts from, unless it is behind the last of this one. */
export function toList<Item extends { id: string }>(data: Item[], hasMore: boolean, lastId?: string | null) {
  return {
    object: 'list' as const,
    data,
    first_id: data[0]?.id ?? null,
    last_id: lastId ?? data.at(-1)?.id ?? null,
    has_more: hasMore,
  }
}

/** The page that was asked for. @throws {InvalidRequestError} when `after` named nothing to go on from. */
export function knownPage<Page>(page: Page | null, noun: string): Page {
  if (page !== null) return page
  throw new InvalidRequestError(`\`after\` names no ${noun} that can still be listed.`, 'after')
}

/** What there is of that name. @throws {NotFoundError} when it is unknown, or another tenant's. */
export function found<Thing>(thing: Thing | null, noun: string): Thing {
  if (thing === null) throw new NotFoundError(noun)
  return thing
}

function currentSecret({ secrets }: EndpointRecord): string {
  return secrets[0]?.secret ?? '' // the newest: there always is one
}

function hintOf(secret: string): string {
  return `whsec_...${secret.slice(-4)}`
}

function toSeconds(milliseconds: number): number {
  return Math.floor(milliseconds / 1000)
}
