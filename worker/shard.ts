import type { Redis } from 'ioredis'
import { createAttended } from '../shared/jobs/attended.ts'
import { createClaims } from '../shared/jobs/claims.ts'
import { isLineId } from '../shared/batches/batch-results.ts'
import type { Config } from '../shared/config.ts'
import { createDeliveries } from '../shared/webhooks/deliveries.ts'
import { createDeliveryQueue, WEBHOOKS_QUEUE, type DeliveryEntry } from '../shared/webhooks/delivery-queue.ts'
import type { Durability } from '../shared/durability.ts'
import type { DeploymentState } from '../shared/routing/deployment-state.ts'
import type { FileStore } from '../shared/files/file-store.ts'
import { createFiles } from '../shared/files/files.ts'
import type { Ids } from '../shared/ids.ts'
import { createJobControl } from '../shared/jobs/job-control.ts'
import { createJobStreams } from '../shared/jobs/job-streams.ts'
import type { Keys } from '../shared/keys.ts'
import type { LinePlans } from '../shared/batches/line-plans.ts'
import type { Logger } from '../shared/log.ts'
import type { PlanDependencies } from '../shared/plans/plan.ts'
import { BATCHES_QUEUE, CHECKS_QUEUE } from '../shared/batches/batch-queue.ts'
import { createJobQueue, JOBS_QUEUE } from '../shared/jobs/queues.ts'
import type { CredentialBundle } from '../shared/schemas/plan.ts'
import type { Sealer } from '../shared/seal.ts'
import { createSettledListener } from '../shared/jobs/settled.ts'
import { createSettle, type SettleResult, type SettleSubject } from '../shared/jobs/settle.ts'
import { createWebhookEndpoints } from '../shared/webhooks/webhook-endpoints.ts'
import { createBatchHookReader, createEndedReader } from '../shared/webhooks/webhooks.ts'
import type { Tracing } from '../shared/tracing.ts'
import { createWindow } from '../shared/jobs/window.ts'
import { createAnnounce } from './announce.ts'
import type { Providers } from './attempt.ts'
import { createBatchNews } from './batch-news.ts'
import { openBatches } from './batches.ts'
import { createCompletion } from './completion.ts'
import { createDeliveryProcessor, WEBHOOK_SLOTS } from './delivery.ts'
import { createEntries } from './entries.ts'
import { createFeeder } from './feeder.ts'
import { createLeftJobs } from './left-jobs.ts'
import { createNotedOnDisk } from './on-disk.ts'
import type { WorkerCounts } from './metrics.ts'
import type { Outbound } from './outbound.ts'
import { createProgress } from './progress.ts'
import { createReceivers } from './receivers.ts'
import { RunningJobs } from './running.ts'
import type { Slots } from './slots.ts'
import { createStreaming } from './streaming.ts'
import { createSweeper } from './sweeper.ts'
import { openTenantChores } from './tenant-chores.ts'
import type { Watch } from './watch.ts'
import {
  chunksAtOnce,
  startBatchesWorker,
  startChecksWorker,
  startJobsWorker,
  startWorker,
} from './workers.ts'

/** What a worker process has once, for all shards. */
export type WorkerProcess = {
  config: Config
  log: Logger
  workerId: string
  redis: Redis
  /** BullMQ's. */
  blocking: Redis
  subscriber: Redis
  store: FileStore
  ids: Ids
  sealer: Sealer
  slots: Slots
  /** Of deployments, which jobs of all shards may share. */
  state: DeploymentState
  providers: Providers
  operatorBundles: ReadonlyMap<string, CredentialBundle>
  planDependencies: PlanDependencies & { plans: LinePlans }
  counts: WorkerCounts
  webhookOutbound: Outbound
  durability: Durability
  watch: Watch
  tracing: Tracing
}

/**
 * Opens what a worker has for the tenants of one shard: queues, window, sweeper, jobs, batches and deliveries. It takes no job
 * before `start`.
 */
export async function openShard(keys: Keys, own: WorkerProcess) {
  const { config, log, workerId, redis, ids, sealer, store, slots, state, tracing } = own
  const { worker: settings, secrets } = config
  const queue = createJobQueue(redis, keys)
  const window = createWindow(redis, keys)
  const feed = createFeeder(window, queue, log)
  const progress = createProgress(redis, keys)
  const settle = own.counts.settle(createSettle({ redis, keys, sealer, ids, ...config.jobs }))
  const claims = createClaims({ redis, keys, sealer, leaseMs: settings.leaseMs })
  const running = new RunningJobs(claims, settings.leaseMs, log)
  const settled = createSettledListener(own.subscriber, keys)
  settled.onCancel((jobId) => running.cancel(jobId))
  settled.onWake((jobId) => state.wake(jobId))
  await settled.start()

  const deliveryQueue = createDeliveryQueue(redis, keys)
  const deliveries = own.counts.deliveries(
    createDeliveries({ redis, keys, ids, sealer, queue: deliveryQueue, ...config.webhooks }),
  )
  const readEnded = createEndedReader({ redis, keys, sealer })
  const readBatch = createBatchHookReader({ redis, keys, sealer })
  const endpoints = createWebhookEndpoints({ redis, keys, sealer, ids })
  const receiversOf = createReceivers({ endpoints, ids, idSecret: secrets.idSecret })
  const news = createBatchNews({ redis, keys, readBatch, deliveries, receiversOf, ids, log })
  const announce = createAnnounce({ readEnded, deliveries, receiversOf, ids, log })
  const afterSettle = ({ id, hasWebhook }: SettleSubject, result: SettleResult) => {
    const isTold = result.kind === 'settled' ? result.isTold : result.kind === 'ended' && hasWebhook
    if (isTold) void announce(id)
    if (result.kind === 'settled' && result.tenantsWaiting > 0) void feed()
  }
  const completion = createCompletion({
    claims,
    settle,
    state,
    running,
    streaming: createStreaming({
      streamOf: createJobStreams({ redis, keys, sealer }),
      lose: (jobId) => running.stop(jobId, 'lost'),
      resultRetentionMs: config.jobs.resultRetentionMs,
    }),
    providers: own.providers,
    operatorBundles: own.operatorBundles,
    crashesMax: settings.crashesMax,
    retryInitialMs: settings.retryInitialMs,
    random: Math.random,
    log,
    tracing,
    notedOnDisk: createNotedOnDisk(own.durability, keys),
    afterSettle(subject, result) {
      progress.moved()
      afterSettle(subject, result)
    },
    afterSnooze(tenantsWaiting) {
      progress.moved()
      if (tenantsWaiting > 0) void feed()
    },
  })
  const files = createFiles({ redis, keys, sealer, store, log, ...config.files })
  const batches = openBatches({
    redis,
    keys,
    ids,
    sealer,
    store,
    files,
    workerId,
    log,
    slots,
    work: completion.work,
    tracing,
    planDependencies: own.planDependencies,
    leaseMs: settings.leaseMs,
    windowMs: settings.limitWindowMs,
    ...config.batches,
    limits: config.files,
    news,
    lineEnded(outcome) {
      progress.moved()
      own.counts.lineEnded(outcome)
    },
    announce,
  })
  settled.onBatchStop((batchId) => batches.stop(batchId))
  const sweeper = createSweeper({
    redis,
    keys,
    window,
    queue,
    settle,
    feed,
    announce,
    deliveries,
    batches: batches.chores,
    ofTenants: openTenantChores({
      redis, keys, ids, sealer, store, files, window, log, queue: deliveryQueue,
      isUsageExported: settings.isUsageExported, ...config.webhooks,
    }), // oxfmt-ignore
    cancelLeft: createLeftJobs({
      redis,
      keys,
      attended: createAttended({ redis, keys }),
      control: createJobControl({ redis, keys, sealer, ids, window, settle }),
    }),
    afterSettle,
    log,
    workerId,
    tickMs: settings.sweepMs,
    aofRewriteMs: settings.aofRewriteMs,
  })

  const isThere = () => redis.exists(keys.window)
  const all = settings.concurrency
  async function beat(count: number): Promise<number> {
    try {
      // First of all: a full Redis may refuse the other.
      const ofAll = await window.beat(workerId, count, settings.heartbeatMs * 5)
      await progress.tell()
      return ofAll
    } catch (error) {
      log.warn({ err: error }, 'This worker could not say that it lives; trying again')
      return all
    }
  }

  /** Takes jobs from now on. */
  async function start() {
    const chunks = chunksAtOnce(all, await beat(all))
    running.start()
    batches.chunks.start()
    const { watch, blocking } = own
    const on = (connection: Redis) => ({ redis: connection, keys, log, ...settings })
    const entries = createEntries({ slots, run: completion.run, log })
    const startJobs = (connection: Redis) =>
      startJobsWorker(entries.take, slots.onRoom, { ...on(connection), telemetry: tracing.telemetry })
    const startBatches = (connection: Redis) =>
      startBatchesWorker(batches.run, { ...on(connection), concurrency: chunks })
    const startChecks = (connection: Redis) => startChecksWorker(batches.run, on(connection))
    const deliver = createDeliveryProcessor({
      deliveries,
      endpoints,
      post: own.webhookOutbound.post,
      ...config.webhooks,
      random: Math.random,
      log,
      tracing,
    })
    const startWebhooks = (connection: Redis) =>
      startWorker<DeliveryEntry>(WEBHOOKS_QUEUE, deliver, {
        ...on(connection),
        concurrency: WEBHOOK_SLOTS,
      })
    const batchesWorker = watch.add(BATCHES_QUEUE, blocking, startBatches, always, isThere)
    const workers = [
      watch.add(JOBS_QUEUE, blocking, startJobs, slots.hasRoom, isThere),
      batchesWorker,
      watch.add(CHECKS_QUEUE, blocking, startChecks, always, isThere),
      watch.add(WEBHOOKS_QUEUE, blocking, startWebhooks, always, isThere),
    ]
    const heartbeat = setInterval(() => {
      void beat(all).then((ofAll) => (batchesWorker().concurrency = chunksAtOnce(all, ofAll)))
    }, settings.heartbeatMs)
    sweeper.start()
    void feed()
    void batches.feed()

    return {
      /** Says that this worker takes no more, and begins nothing new; `closed` once BullMQ has taken note. */
      async leave(): Promise<{ closed: Promise<unknown> }> {
        clearInterval(heartbeat)
        await beat(0)
        batches.drain()
        return { closed: Promise.all(workers.map((one) => one().close())) }
      },
      /** Lets go of what BullMQ still holds here. */
      letGo: () => Promise.all(workers.map((one) => one().close(true))),
    }
  }

  return {
    start,
    /** What of it this process runs. */
    running: [running, batches.chunks],
    /**
     * Jobs, and lines of batches, that were handed a place at a deployment go on.
     * @returns ids of those that have ended, or are none of this shard.
     */
    async wake(holders: readonly string[]): Promise<string[]> {
      const [lines, jobIds] = [holders.filter(isLineId), holders.filter((id) => !isLineId(id))]
      const [endedJobs, endedLines] = await Promise.all([window.wakeNow(jobIds), batches.wakeLines(lines)])
      if (endedJobs.length < jobIds.length) void feed()
      if (endedLines.length < lines.length) void batches.feed()
      return [...endedJobs, ...endedLines]
    },
    async close(): Promise<void> {
      await sweeper.close()
      running.close()
      await news.close()
      await batches.close()
      settled.close()
      await Promise.all([queue.close(), deliveryQueue.close()])
    },
  }
}

function always(): boolean {
  return true
}

export type Shard = Awaited<ReturnType<typeof openShard>>
