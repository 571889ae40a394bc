import type { Redis } from 'ioredis'
import { createBatchClaims, type AfterStep } from '../shared/batches/batch-claims.ts'
import { createBatchEnds } from '../shared/batches/batch-ends.ts'
import { createBatchInput } from '../shared/batches/batch-input.ts'
import type { LineOutcome } from '../shared/batches/batch-results.ts'
import { createBatchQueue } from '../shared/batches/batch-queue.ts'
import { createBatchWindow } from '../shared/batches/batch-window.ts'
import type { FileStore } from '../shared/files/file-store.ts'
import type { Files } from '../shared/files/files.ts'
import type { Ids } from '../shared/ids.ts'
import type { Keys } from '../shared/keys.ts'
import type { Logger } from '../shared/log.ts'
import { createKeptPlaces } from '../shared/routing/kept-places.ts'
import type { LinePlans } from '../shared/batches/line-plans.ts'
import type { PlanDependencies } from '../shared/plans/plan.ts'
import { createResultLogs } from '../shared/batches/result-log.ts'
import type { Sealer } from '../shared/seal.ts'
import type { Tracing } from '../shared/tracing.ts'
import { createStoredCredentials } from '../shared/credentials/stored-credentials.ts'
import { createBatchChores } from './batch-chores.ts'
import type { BatchNews } from './batch-news.ts'
import { createBatchPlaces } from './batch-places.ts'
import { createBatchSteps } from './batch-steps.ts'
import { createBatchRunner } from './batch.ts'
import type { Completion } from './completion.ts'
import { createFeeder } from './feeder.ts'
import { createLineRecords } from './record-of-line.ts'
import { RunningJobs } from './running.ts'
import type { Slots } from './slots.ts'

/** All that a worker has for batches, joined up. */
export function openBatches(deps: {
  redis: Redis
  keys: Keys
  ids: Ids
  sealer: Sealer
  store: FileStore
  files: Files
  workerId: string
  log: Logger
  slots: Slots
  work: Completion['work']
  tracing?: Tracing
  planDependencies: PlanDependencies & { plans: LinePlans }
  leaseMs: number
  /** Length of the "minute" of rpm and tpm. */
  windowMs: number
  /** How long the record of an ended batch, and its files unless it says otherwise, are kept, in milliseconds. */
  retentionMs: number
  /** How long calls in flight may go on in a batch that is cancelled, in milliseconds. */
  cancelMs: number
  limits: { linesMax: number; lineBytesMax: number }
  news: BatchNews
  /** Follows every end of a line. */
  lineEnded: (outcome: LineOutcome) => void
  /** Announces a batch that has ended. Never throws. */
  announce: (batchId: string) => Promise<void>
}) {
  const { redis, keys, sealer, store, files, log, news } = deps
  const queue = createBatchQueue(redis, keys)
  const window = createBatchWindow(redis, keys)
  const feed = createFeeder(window, queue, log)

  function afterStep({ finish, tenantsWaiting }: AfterStep): void {
    if (tenantsWaiting > 0) void feed()
    if (!finish) return
    queue.add([finish]).catch((error: unknown) => {
      log.warn(
        { err: error, batch_id: finish.batchId },
        'The end of a batch could not be enqueued; the sweeper will',
      )
    })
  }

  const claims = createBatchClaims({ redis, keys, sealer, leaseMs: deps.leaseMs, afterStep })
  const ends = createBatchEnds({ ...deps, afterStep })
  const input = createBatchInput({ store, sealer })
  const results = createResultLogs({ store, sealer })
  const chunks = new RunningJobs(claims, deps.leaseMs, log)
  const places = createBatchPlaces({ results, files, workerId: deps.workerId, log })
  const records = createLineRecords({
    claims,
    log,
    afterSettle(batchId, outcome) {
      news.progressed(batchId)
      deps.lineEnded(outcome)
    },
  })
  const stored = createStoredCredentials(deps)
  const steps = createBatchSteps({
    ...deps,
    stored,
    claims,
    ends,
    records,
    input,
    giveBack: createKeptPlaces(deps),
    afterBegin: (batchId) => news.began(batchId),
    afterEnd: (batchId) => void deps.announce(batchId),
  })
  const runner = createBatchRunner({
    ...deps,
    claims,
    ends,
    chunks,
    places,
    records,
    results,
    steps,
    stored,
    input,
  })
  const expireFiles = () => files.expire()

  return {
    /** Runs a chunk. */
    run: runner.run,
    /** Nothing new of a batch is started. */
    stop: (batchId: string) => runner.stop(batchId),
    /** Nothing new is started at all. */
    drain: () => runner.drain(),
    /** The chunks that this process holds. */
    chunks,
    feed,
    /** Lines that were handed a place at a deployment go on. @returns ids of those that have ended. */
    wakeLines: (lineIds: readonly string[]) => window.wakeLines(lineIds),
    chores: createBatchChores({ window, queue, ends, feed, store, expireFiles, log }),
    async close(): Promise<void> {
      chunks.close()
      await places.close()
      await queue.close()
    },
  }
}

export type WorkerBatches = ReturnType<typeof openBatches>
