import type { Redis } from 'ioredis'
import { createBatchEnds } from '../shared/batches/batch-ends.ts'
import { createBatchInput, type BatchInputLimits } from '../shared/batches/batch-input.ts'
import { createBatchListener } from '../shared/batches/batch-listener.ts'
import { createBatchQueue } from '../shared/batches/batch-queue.ts'
import { createBatches } from '../shared/batches/batches.ts'
import type { Capacity } from '../shared/capacity.ts'
import type { FileStore } from '../shared/files/file-store.ts'
import { createFiles } from '../shared/files/files.ts'
import type { Ids } from '../shared/ids.ts'
import type { Keys } from '../shared/keys.ts'
import type { Logger } from '../shared/log.ts'
import { createResultLogs } from '../shared/batches/result-log.ts'
import type { Sealer } from '../shared/seal.ts'

/** All that the API has for files and batches, joined up. The caller closes connections and file store. */
export function openBatches(deps: {
  redis: Redis
  /** Batches that somebody follows are subscribed to here. */
  subscriber: Redis
  keys: Keys
  ids: Ids
  sealer: Sealer
  store: FileStore
  log: Logger
  inputLimits: BatchInputLimits
  /** Bytes that all files of one tenant may be. */
  tenantBytesMax: number
  capacity: Capacity
  /** How long the record of an ended batch, and its files unless it says otherwise, are kept, in milliseconds. */
  retentionMs: number
  idempotencyRetentionMs: number
}) {
  const { redis, keys, sealer, store, log } = deps
  const queue = createBatchQueue(redis, keys)
  const ends = createBatchEnds({
    ...deps,
    afterStep({ finish }) {
      if (!finish) return
      queue.add([finish]).catch((error: unknown) => {
        const { batchId } = finish
        log.warn(
          { err: error, batch_id: batchId },
          'The end of a batch could not be enqueued; the sweeper will',
        )
      })
    },
  })
  const news = createBatchListener(deps.subscriber, keys)
  return {
    /** What the routes need. */
    services: {
      sealer,
      store,
      inputLimits: deps.inputLimits,
      files: createFiles(deps),
      batches: createBatches({ ...deps, queue, ends }),
      input: createBatchInput({ store, sealer }),
      results: createResultLogs({ store, sealer }),
      news,
    },
    async close(): Promise<void> {
      news.close()
      await queue.close()
    },
  }
}

/** What the routes of files and batches need of the stores. */
export type BatchServices = ReturnType<typeof openBatches>['services']
