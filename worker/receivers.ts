import type { DeliveryInput } from '../shared/webhooks/delivery-record.ts'
import type { NewEvent } from '../shared/webhooks/events.ts'
import type { Ids } from '../shared/ids.ts'
import { deriveWebhookSecret } from '../shared/webhooks/signature.ts'
import type { WebhookEndpoints } from '../shared/webhooks/webhook-endpoints.ts'

/** An event, with who may hear of it. */
export type Telling = {
  event: NewEvent
  /** Whom it is about; null: nobody's in particular. */
  customer: string | null
  /** Which endpoints of the tenant are told if they want to hear of it; undefined: all of them. */
  named?: readonly string[] | undefined
  /** The job's or batch's own webhook, when it wants to hear of it. */
  own: OwnReceiver | null
  /** How long a job is kept after it was accepted, in milliseconds. */
  resultTtlMs?: number
  /** Where the trace of what it is about goes on. */
  trace?: string | undefined
}

export type OwnReceiver = {
  url: string
  secret?: string | undefined
  /** Said in its delivery's id. */
  kind: 'job' | 'batch'
  /** What is sent in place of the event's text. */
  body?: string
}

/** Makes the deliveries of an event: to the own webhook of what it is about, and to those of the tenant's endpoints that want it. */
export function createReceivers(deps: {
  endpoints: Pick<WebhookEndpoints, 'wanting'>
  ids: Ids
  /** `GATEWAY_ID_SECRET`, for the secrets of those who gave none. */
  idSecret: string
}) {
  const { ids } = deps

  return async ({ event, customer, named, own, resultTtlMs, trace }: Telling): Promise<DeliveryInput[]> => {
    const { tenant, type, id: eventId } = event
    const common = { tenant, eventId, type, trace, ...(resultTtlMs === undefined ? {} : { resultTtlMs }) }
    const endpoints = await deps.endpoints.wanting({ tenant, type, customer, named })
    const deliveries: DeliveryInput[] = endpoints.map((endpointId) => ({
      ...common,
      id: ids.deliveryId(eventId, endpointId),
      target: { kind: 'endpoint', id: endpointId },
    }))
    if (own === null) return deliveries
    const { url, kind, body, secret = deriveWebhookSecret(deps.idSecret, tenant, customer) } = own
    const hook = { url, secret }
    const toOwn: DeliveryInput = {
      ...common,
      id: ids.deliveryId(eventId, kind),
      target: { kind: 'url', hook },
    }
    return [body === undefined ? toOwn : { ...toOwn, body }, ...deliveries]
  }
}

export type Receivers = ReturnType<typeof createReceivers>
