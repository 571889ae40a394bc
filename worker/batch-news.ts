import type { Redis } from 'ioredis'
import type { Deliveries } from '../shared/webhooks/deliveries.ts'
import type { DeliveryInput } from '../shared/webhooks/delivery-record.ts'
import type { NewEvent } from '../shared/webhooks/events.ts'
import type { Ids } from '../shared/ids.ts'
import type { Keys } from '../shared/keys.ts'
import type { Logger } from '../shared/log.ts'
import type { BatchWithHook, ReadBatchHook } from '../shared/webhooks/webhooks.ts'
import { batchEvent } from './batch-event.ts'
import type { Receivers } from './receivers.ts'

const PROGRESS_EVERY_MS = 10_000
const UNWANTED_AGAIN_MS = 60_000
const KNOWN_MAX = 10_000

/**
 * Tells those who asked for it by name (a batch's own webhook, its tenant's endpoints) that it began, and, once in ten seconds
 * over all workers, how far it is. Nothing here is owed: what can't be told is left out, and the end of a batch is told by
 * `announce`. A batch that nobody asked about costs a few reads a minute in each process.
 */
export function createBatchNews(deps: {
  redis: Redis
  keys: Keys
  readBatch: ReadBatchHook
  deliveries: Pick<Deliveries, 'create'>
  receiversOf: Receivers
  ids: Ids
  log: Logger
  progressEveryMs?: number
}) {
  const { redis, keys, readBatch, deliveries, receiversOf, ids, progressEveryMs = PROGRESS_EVERY_MS } = deps
  /** Batches that were asked about -> when their progress is to be looked at next. */
  const nextAt = new Map<string, number>()
  const underWay = new Set<Promise<void>>()

  async function tellBegun(id: string): Promise<void> {
    const batch = await readBatch(id)
    if (!batch) return
    const { view } = batch
    const eventId = ids.eventId(id, 'batch.in_progress')
    const event = batchEvent(eventId, 'batch.in_progress', view, view.inProgressMs ?? view.createdMs)
    const made = { events: [event], deliveries: await receiversFor(event, batch), isNews: true }
    if (made.deliveries.length > 0) await deliveries.create(id, made)
  }

  async function tellProgress(id: string): Promise<void> {
    const batch = await readBatch(id)
    if (!batch || batch.view.isTerminal) return
    const eventId = ids.eventId(id, `batch.progress ${Date.now()}`)
    const event = batchEvent(eventId, 'batch.progress', batch.view, Date.now())
    const made = { events: [event], deliveries: await receiversFor(event, batch), isNews: true }
    if (made.deliveries.length === 0) return lookAgain(id, UNWANTED_AGAIN_MS)
    const isOurTurn = await redis.set(keys.batchTold(id), '1', 'PX', progressEveryMs, 'NX')
    if (isOurTurn !== null) await deliveries.create(id, made)
  }

  function receiversFor(event: NewEvent, { view, webhook }: BatchWithHook): Promise<DeliveryInput[]> {
    const isNamed = webhook?.events?.some((type) => type === event.type) === true
    const own = webhook && isNamed ? { ...webhook, kind: 'batch' as const } : null
    return receiversOf({
      event,
      customer: view.customer,
      named: view.webhookEndpointIds,
      own,
      trace: view.trace,
    })
  }

  function lookAgain(id: string, afterMs: number): void {
    nextAt.delete(id)
    nextAt.set(id, performance.now() + afterMs)
    const [oldest] = nextAt.keys()
    if (nextAt.size > KNOWN_MAX && oldest !== undefined) nextAt.delete(oldest)
  }

  function start(id: string, telling: Promise<void>): void {
    const done = telling
      .catch((error: unknown) => {
        deps.log.warn({ err: error, batch_id: id }, 'News of a batch could not be told')
      })
      .finally(() => underWay.delete(done))
    underWay.add(done)
  }

  return {
    /** The batch runs from now on. */
    began(id: string): void {
      lookAgain(id, progressEveryMs)
      start(id, tellBegun(id))
    },
    /** Lines of the batch have settled; to be called as often as that is so. */
    progressed(id: string): void {
      if (performance.now() < (nextAt.get(id) ?? 0)) return
      // Before anything is awaited: of many lines that settle at once one asks.
      lookAgain(id, progressEveryMs)
      start(id, tellProgress(id))
    },
    /** Waits for what is being told. */
    async close(): Promise<void> {
      await Promise.all(underWay)
    },
  }
}

export type BatchNews = ReturnType<typeof createBatchNews>
