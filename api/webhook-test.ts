import { randomUUID } from 'node:crypto'
import type { FastifyReply } from 'fastify'
import type { z } from 'zod'
import type { Deliveries } from '../shared/webhooks/deliveries.ts'
import type { DeliveryLog } from '../shared/webhooks/delivery-log.ts'
import type { DeliveryView } from '../shared/webhooks/delivery-record.ts'
import { ConflictError, InvalidRequestError } from '../shared/errors.ts'
import type { Ids } from '../shared/ids.ts'
import type { EventType, WebhookTest } from '../shared/schemas/webhook.ts'
import { waitForEnd, type SettledListener } from '../shared/jobs/settled.ts'
import type { EndpointRecord } from '../shared/webhooks/webhook-endpoint-record.ts'
import type { Holds } from './holds.ts'

export type WebhookTestDeps = {
  ids: Ids
  deliveries: Pick<Deliveries, 'create'>
  deliveryLog: Pick<DeliveryLog, 'read'>
  settled: SettledListener
  holds: Holds
  /** How long its answer is waited for. */
  testWaitMs: number
}

/**
 * Has a worker send a sample to an endpoint, and waits for what its receiver answers.
 * @throws {InvalidRequestError} when it gives no answer.
 */
export async function testEndpoint(
  reply: FastifyReply,
  endpoint: EndpointRecord,
  type: EventType,
  deps: WebhookTestDeps,
): Promise<z.infer<typeof WebhookTest>> {
  const { id: endpointId, tenant } = endpoint
  if (endpoint.disabled) {
    const message = 'Nothing is sent to a webhook endpoint that is disabled. Enable it first.'
    throw new ConflictError(message, 'webhook_endpoint_disabled')
  }
  const event = sampleEvent(deps.ids, endpointId, type)
  const id = deps.ids.deliveryId(event.id, endpointId)
  // The watch stands before there is anything to wait for.
  const watch = deps.settled.watch(id)
  const hold = deps.holds.hold(reply)
  try {
    const target = { kind: 'endpoint' as const, id: endpointId }
    const delivery = {
      id,
      tenant,
      eventId: event.id,
      type,
      target,
      body: JSON.stringify(event),
      isTest: true,
    }
    await deps.deliveries.create(endpointId, { events: [], deliveries: [delivery], isNews: true })
    const read = async () => {
      const view = await deps.deliveryLog.read(tenant, id)
      return view && { view, isTerminal: view.state !== 'pending' }
    }
    const end = await waitForEnd({ watch, read, waitMs: deps.testWaitMs, isFresh: true, signal: hold.signal })
    return { ...TOLD, event_type: type, status_code: statusOf(end?.view), webhook_endpoint_id: endpointId }
  } finally {
    watch.close()
    hold.release()
  }
}

/** An event as any other, of something that never was; each has an id of its own, since it is told only once. */
function sampleEvent(ids: Ids, endpointId: string, type: EventType) {
  const [object = ''] = type.split('.')
  return {
    id: ids.eventId(endpointId, `test ${randomUUID()}`),
    object: 'event' as const,
    created_at: Math.floor(Date.now() / 1000),
    type,
    data: { id: SAMPLE_IDS[object] ?? endpointId, object },
  }
}

const SAMPLE_IDS: Readonly<Record<string, string>> = {
  job: 'job_sample',
  batch: 'batch_sample',
  response: 'resp_sample',
}

const TOLD = { object: 'webhook_endpoint.test', success: true } as const

function statusOf(view: DeliveryView | undefined): number {
  const attempt = view?.attempts.at(-1)
  if (attempt?.statusCode) return attempt.statusCode
  const why = attempt?.error ?? 'no worker has sent it yet'
  const message = `The receiver of this webhook endpoint gave no answer (${why}). Look at its \`url\`.`
  throw new InvalidRequestError(message, null, 'webhook_unreachable')
}
