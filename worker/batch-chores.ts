import type { BatchEnds } from '../shared/batches/batch-ends.ts'
import type { BatchQueue } from '../shared/batches/batch-queue.ts'
import type { BatchWindow, DueBatch } from '../shared/batches/batch-window.ts'
import type { FileStore } from '../shared/files/file-store.ts'
import type { Logger } from '../shared/log.ts'
import { beside } from './beside.ts'
import type { Feed } from './feeder.ts'

const AT_ONCE_MAX = 200
const STORE_AWAY_MS = 60_000

/** What the sweeper does for batches; all of it is safe to do twice. */
export function createBatchChores(deps: {
  window: BatchWindow
  queue: BatchQueue
  ends: BatchEnds
  feed: Feed
  store: FileStore
  /** Erases files whose time is over. */
  expireFiles: () => Promise<void>
  log: Logger
}) {
  const { window, queue, log } = deps

  /** Batches with room, and those whose parked lines are due, go on. */
  async function feedWaiting(): Promise<void> {
    if ((await window.wake()) > 0) await deps.feed()
  }

  /** Chunks of the window that are neither claimed nor in BullMQ: enqueued anew. */
  async function mendEntries(): Promise<void> {
    for (const chunk of await window.overdue(AT_ONCE_MAX)) {
      if (await queue.has(chunk)) {
        await window.putOff(chunk)
        continue
      }
      const again = await window.refeed(chunk)
      if (!again) continue
      log.warn(
        { batch_id: chunk.batchId, chunk: chunk.chunk },
        'A chunk had lost its queue entry and is enqueued again',
      )
      await queue.add([again])
    }
  }

  /** Deadlines that passed, and records to forget. */
  async function lookAtDue(): Promise<void> {
    const all = await window.due(AT_ONCE_MAX)
    for (const { id, tenant, owner, hasEnded } of all) {
      if (!hasEnded) await deps.ends.stop({ id, tenant: tenant ?? '', owner: owner ?? '' }, 'expired')
    }
    const ended = all.filter(({ hasEnded }) => hasEnded)
    // Out of the way of what comes after them, should the store not let go of them.
    if (ended.length > 0) await window.lookAgain(ended, STORE_AWAY_MS)
    for (const due of ended) toForget.set(due.id, due)
    await forgetAll()
  }

  const toForget = new Map<string, DueBatch>()
  const forgetAll = beside(async () => {
    for (const [id, due] of toForget) {
      toForget.delete(id)
      await forget(due)
    }
  })

  // Its bytes first: nobody would find them without the record.
  async function forget(due: DueBatch): Promise<void> {
    try {
      await deps.store.remove(`batches/${due.id}/`)
    } catch (error) {
      log.warn({ err: error, batch_id: due.id }, 'The bytes of a batch could not be removed; trying again')
      return
    }
    await window.forget(due)
  }

  return {
    /** Each tick of the sweeper. */
    often: [feedWaiting],
    /** Twice a second. */
    seldom: [lookAtDue, mendEntries, beside(deps.expireFiles)],
  }
}

export type BatchChores = ReturnType<typeof createBatchChores>
