import type { Deliveries } from '../shared/webhooks/deliveries.ts'
import type { Ids } from '../shared/ids.ts'
import type { Logger } from '../shared/log.ts'
import type { BatchEvent } from '../shared/schemas/batch.ts'
import type { JobWebhook } from '../shared/schemas/job.ts'
import type { EventType } from '../shared/schemas/webhook.ts'
import type { EndpointRecord } from '../shared/webhooks/webhook-endpoint-record.ts'
import type { BatchWithHook, EndedJob, ReadEnded } from '../shared/webhooks/webhooks.ts'
import { batchEvent } from './batch-event.ts'
import { endsOf, type JobEnd } from './job-event.ts'
import type { OwnReceiver, Receivers, Telling } from './receivers.ts'

/**
 * Makes `announce(id)`: what ended (a job or a batch), or that an endpoint was disabled, becomes events, and each of these a
 * delivery to everybody who wants to hear of it. It runs right after the end and, for what a dead process left behind, from
 * the sweeper; any number of times, by any number of processes, it makes the same events and deliveries once. It never
 * throws: what fails is announced later.
 */
export function createAnnounce(deps: {
  readEnded: ReadEnded
  deliveries: Pick<Deliveries, 'create' | 'drop' | 'putOff'>
  receiversOf: Receivers
  ids: Ids
  log: Logger
}) {
  const { readEnded, deliveries, receiversOf, ids, log } = deps

  async function tell(id: string): Promise<void> {
    const ended = await readEnded(id)
    const told = await Promise.all(
      tellingsOf(ended).map(async (telling) => ({
        event: telling.event,
        deliveries: await receiversOf(telling),
      })),
    )
    // What nobody wants to hear of is no event.
    const heard = told.filter((one) => one.deliveries.length > 0)
    await deliveries.create(id, {
      events: heard.map(({ event }) => event),
      deliveries: heard.flatMap((one) => one.deliveries),
    })
  }

  function tellingsOf(ended: Awaited<ReturnType<ReadEnded>>): Telling[] {
    if (!ended) return []
    if (ended.kind === 'job') return ofJob(ended)
    return [ended.kind === 'batch' ? ofBatch(ended) : ofEndpoint(ended.endpoint)]
  }

  function ofJob({ view, webhook, resultTtlMs, endpointIds, trace }: EndedJob): Telling[] {
    const { job, tenant } = view
    return endsOf(view).map((end) => {
      const id = ids.eventId(job.id, end.type)
      const event = { id, tenant, type: end.type, subjectId: job.id, body: end.format(id, false) }
      const own = webhook && ownReceiver(webhook, end, id)
      return { event, customer: job.customer, named: endpointIds, own, resultTtlMs, trace }
    })
  }

  function ofBatch({ view, webhook }: BatchWithHook): Telling {
    const type = `batch.${view.status}` as BatchEvent // it has ended
    const event = batchEvent(ids.eventId(view.id, type), type, view, view.endedMs ?? view.createdMs)
    const wants = webhook !== null && webhook.events?.includes(type) !== false
    return {
      event,
      customer: view.customer,
      named: view.webhookEndpointIds,
      trace: view.trace,
      own: wants ? { ...webhook, kind: 'batch' } : null,
    }
  }

  function ofEndpoint({ id: endpointId, tenant, name, customer, disabled }: EndpointRecord): Telling {
    const type = 'webhook_endpoint.disabled'
    const atMs = disabled?.atMs ?? 0
    const id = ids.eventId(endpointId, `${type} ${atMs}`)
    const data = {
      id: endpointId,
      object: 'webhook_endpoint',
      name,
      ...(customer === null ? {} : { customer }),
      disabled_at: Math.floor(atMs / 1000),
      disabled_reason: disabled?.reason,
    }
    const body = JSON.stringify({ id, object: 'event', created_at: data.disabled_at, type, data })
    return { event: { id, tenant, type, subjectId: endpointId, body }, customer, own: null }
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

/** A job's own webhook hears of the job unless it names what it wants to hear of; of a response only then. */
function ownReceiver(webhook: JobWebhook, end: JobEnd, eventId: string): OwnReceiver | null {
  const names: readonly EventType[] | undefined = webhook.events
  if (!(names?.includes(end.type) ?? end.type.startsWith('job.'))) return null
  const own: OwnReceiver = { url: webhook.url, secret: webhook.secret, kind: 'job' }
  return webhook.include_result === true ? { ...own, body: end.format(eventId, true) } : own
}
