import type { Redis } from 'ioredis'
import type { BatchView } from '../shared/batch-record.ts'
import type { Deliveries } from '../shared/deliveries.ts'
import type { Ids } from '../shared/ids.ts'
import type { Keys } from '../shared/keys.ts'
import type { Logger } from '../shared/log.ts'
import type { BatchWebhook } from '../shared/schemas/batch.ts'
import { deriveWebhookSecret } from '../shared/signature.ts'
import type { ReadBatchHook } from '../shared/webhooks.ts'
import { batchEvent } from './batch-event.ts'

const PROGRESS_EVERY_MS = 10_000
const KNOWN_MAX = 10_000

/**
 * Tells the webhooks that asked for it by name that a batch began, and, once in ten seconds over all workers, how far it is.
 * Nothing here is owed: what can't be told is left out, and the end of a batch is told by `announce`. A batch whose webhook
 * did not ask costs one read in each process.
 */
export function createBatchNews(deps: {
  redis: Redis
  keys: Keys
  readBatch: ReadBatchHook
  deliveries: Deliveries
  ids: Ids
  /** `GATEWAY_ID_SECRET`, for the secrets of those who gave none. */
  idSecret: string
  log: Logger
  progressEveryMs?: number
}) {
  const { redis, keys, readBatch, deliveries, ids, progressEveryMs = PROGRESS_EVERY_MS } = deps
  /** Batches that were asked about -> when their progress is to be told next; never for those who do not want it. */
  const nextAt = new Map<string, number>()
  const underWay = new Set<Promise<void>>()

  async function tellBegun(id: string): Promise<void> {
    const batch = await readBatch(id)
    remember(id, batch?.webhook ?? null)
    if (batch?.webhook?.events?.includes('batch.in_progress') !== true) return
    const eventId = ids.eventId(id, 'batch.in_progress')
    await deliver(eventId, 'batch.in_progress', batch.view, batch.webhook)
  }

  async function tellProgress(id: string): Promise<void> {
    const batch = await readBatch(id)
    remember(id, batch?.webhook ?? null)
    if (batch?.webhook?.events?.includes('batch.progress') !== true || batch.view.isTerminal) return
    const isOurTurn = await redis.set(keys.batchTold(id), '1', 'PX', progressEveryMs, 'NX')
    if (isOurTurn === null) return
    const eventId = ids.eventId(id, `batch.progress ${Date.now()}`)
    await deliver(eventId, 'batch.progress', batch.view, batch.webhook)
  }

  async function deliver(
    eventId: string,
    type: 'batch.in_progress' | 'batch.progress',
    view: BatchView,
    webhook: BatchWebhook,
  ): Promise<void> {
    const { id, tenant, customer } = view
    const atMs = type === 'batch.progress' ? Date.now() : (view.inProgressMs ?? view.createdMs)
    await deliveries.create({
      id: ids.deliveryId(eventId, 'batch'),
      subjectId: id,
      isNews: true,
      tenant,
      eventId,
      type,
      event: JSON.stringify(batchEvent(eventId, type, view, atMs)),
      hook: {
        url: webhook.url,
        secret: webhook.secret ?? deriveWebhookSecret(deps.idSecret, tenant, customer),
      },
    })
  }

  function remember(id: string, webhook: BatchWebhook | null): void {
    const isWanted = webhook?.events?.includes('batch.progress') === true
    nextAt.delete(id)
    nextAt.set(id, isWanted ? performance.now() + progressEveryMs : Infinity)
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
    began: (id: string): void => start(id, tellBegun(id)),
    /** Lines of the batch have settled; to be called as often as that is so. */
    progressed(id: string): void {
      const now = performance.now()
      if (now < (nextAt.get(id) ?? 0)) return
      // Before anything is awaited: of many lines that settle at once one asks.
      nextAt.set(id, now + progressEveryMs)
      start(id, tellProgress(id))
    },
    /** Waits for what is being told. */
    async close(): Promise<void> {
      await Promise.all(underWay)
    },
  }
}

export type BatchNews = ReturnType<typeof createBatchNews>
