import type { Deliveries, DeliveryInput } from '../shared/deliveries.ts'
import type { Ids } from '../shared/ids.ts'
import type { JobView } from '../shared/job-record.ts'
import type { Logger } from '../shared/log.ts'
import type { BatchEvent } from '../shared/schemas/batch.ts'
import type { JobWebhook } from '../shared/schemas/job.ts'
import { deriveWebhookSecret } from '../shared/signature.ts'
import type { BatchWithHook, EndedJob, ReadEnded } from '../shared/webhooks.ts'
import { batchEvent } from './batch-event.ts'

/** A result above it is not sent along: receivers cap their bodies, and each try would carry it. */
const INCLUDED_RESULT_BYTES_MAX = 256 * 1024

/** A type of event that the end of a job can be. */
export type JobEventType = 'job.completed' | 'job.failed' | 'job.cancelled' | 'job.expired'

/**
 * Makes `announce(id)`: the end of a job or batch becomes a delivery to its webhook. It runs right after the end and, for
 * what a dead process left behind, from the sweeper; any number of times, by any number of processes, it makes one
 * delivery. It never throws: what fails is announced later.
 */
export function createAnnounce(deps: {
  readEnded: ReadEnded
  deliveries: Deliveries
  ids: Ids
  /** `GATEWAY_ID_SECRET`, for the secrets of those who gave none. */
  idSecret: string
  log: Logger
}) {
  const { readEnded, deliveries, ids, idSecret, log } = deps

  async function tell(id: string): Promise<void> {
    const ended = await readEnded(id)
    const delivery = ended && (ended.kind === 'job' ? ofJob(ended) : ofBatch(ended))
    if (delivery) await deliveries.create(delivery)
    else await deliveries.drop(id)
  }

  /** Null: nobody wants to know. */
  function ofJob({ view, webhook, resultTtlMs }: EndedJob): DeliveryInput | null {
    const { tenant, job } = view
    const type = `job.${job.status}` as JobEventType // it has ended
    if (!webhook || webhook.events?.includes(type) === false) return null
    const eventId = ids.eventId(job.id, type)
    return {
      id: ids.deliveryId(eventId, 'job'),
      subjectId: job.id,
      tenant,
      eventId,
      type,
      event: JSON.stringify(jobEvent(eventId, type, view, webhook)),
      hook: {
        url: webhook.url,
        secret: webhook.secret ?? deriveWebhookSecret(idSecret, tenant, job.customer),
      },
      resultTtlMs,
    }
  }

  function ofBatch({ view, webhook }: BatchWithHook): DeliveryInput | null {
    const { tenant } = view
    const type = `batch.${view.status}` as BatchEvent // it has ended
    if (!webhook || webhook.events?.includes(type) === false) return null
    const eventId = ids.eventId(view.id, type)
    return {
      id: ids.deliveryId(eventId, 'batch'),
      subjectId: view.id,
      tenant,
      eventId,
      type,
      event: JSON.stringify(batchEvent(eventId, type, view, view.endedMs ?? view.createdMs)),
      hook: {
        url: webhook.url,
        secret: webhook.secret ?? deriveWebhookSecret(idSecret, tenant, view.customer),
      },
    }
  }

  return async (id: string): Promise<void> => {
    try {
      await tell(id)
    } catch (error) {
      log.error({ err: error, subject_id: id }, 'An end could not be announced; trying again later')
      // It may be Redis itself that failed; then the entry is where it was.
      await deliveries.putOff(id).catch(() => {})
    }
  }
}

/**
 * The event in OpenAI's envelope. Nothing in it depends on when it is built, so an end that is announced twice is told
 * in the same bytes.
 */
function jobEvent(id: string, type: JobEventType, view: JobView, webhook: JobWebhook): object {
  const { job, result } = view
  const ended = job.completed_at ?? job.failed_at ?? job.cancelled_at ?? job.expired_at ?? job.created_at
  const isIncluded =
    webhook.include_result === true && (result?.body.length ?? 0) <= INCLUDED_RESULT_BYTES_MAX
  return {
    id,
    object: 'event',
    created_at: ended,
    type,
    data: {
      id: job.id,
      object: 'job',
      status: job.status,
      ...(job.customer === null ? {} : { customer: job.customer }),
      metadata: job.metadata,
      usage: job.usage,
      cost: job.cost,
      ...(job.error ? { error: job.error } : {}),
      ...(result ? (isIncluded ? { result: job.response?.body } : { result_omitted: true }) : {}),
    },
  }
}
