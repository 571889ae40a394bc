import { randomBytes } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { hostname } from 'node:os'
import { createAttended } from '../shared/jobs/attended.ts'
import { createClaims } from '../shared/jobs/claims.ts'
import { isLineId } from '../shared/batches/batch-results.ts'
import type { Config } from '../shared/config.ts'
import { createDeliveries } from '../shared/webhooks/deliveries.ts'
import { createDeliveryQueue, WEBHOOKS_QUEUE, type DeliveryEntry } from '../shared/webhooks/delivery-queue.ts'
import { createDeploymentState } from '../shared/routing/deployment-state.ts'
import { createEgressPolicy, ownTargets } from '../shared/egress.ts'
import { openFileStore } from '../shared/files/file-store.ts'
import { createFiles } from '../shared/files/files.ts'
import { createIds } from '../shared/ids.ts'
import { createJobControl } from '../shared/jobs/job-control.ts'
import { createJobStreams } from '../shared/jobs/job-streams.ts'
import { createKeys } from '../shared/keys.ts'
import type { Logger } from '../shared/log.ts'
import { loadOperatorConfig, operatorBundles } from '../shared/settings/operator-config.ts'
import { createLinePlans } from '../shared/batches/line-plans.ts'
import { createPlanCache } from '../shared/plans/plan-cache.ts'
import { createJobQueue } from '../shared/jobs/queues.ts'
import { checkRedis } from '../shared/redis-check.ts'
import { createRedis } from '../shared/redis.ts'
import { runProcess } from '../shared/run-process.ts'
import { createSealer } from '../shared/seal.ts'
import { createSettledListener } from '../shared/jobs/settled.ts'
import { createSettle, type SettleResult, type SettleSubject } from '../shared/jobs/settle.ts'
import { createWebhookEndpoints } from '../shared/webhooks/webhook-endpoints.ts'
import { createBatchHookReader, createEndedReader } from '../shared/webhooks/webhooks.ts'
import { createWindow } from '../shared/jobs/window.ts'
import { createAnnounce } from './announce.ts'
import { createCompletion } from './completion.ts'
import { createDeliveryProcessor, WEBHOOK_SLOTS } from './delivery.ts'
import { createBatchNews } from './batch-news.ts'
import { openBatches } from './batches.ts'
import { createFeeder } from './feeder.ts'
import { createOutbound } from './outbound.ts'
import { createProviders } from './providers/registry.ts'
import { createReceivers } from './receivers.ts'
import { createLeftJobs } from './left-jobs.ts'
import { RunningJobs } from './running.ts'
import { createSlots } from './slots.ts'
import { createStreaming } from './streaming.ts'
import { createSweeper } from './sweeper.ts'
import { openTenantChores } from './tenant-chores.ts'
import {
  chunksAtOnce,
  startBatchesWorker,
  startChecksWorker,
  startJobsWorkers,
  startWorker,
} from './workers.ts'

const CLOSE_MS = 1_000
// For what drained calls still write; with Redis away a worker ends all the same.
const HAND_BACK_MS = 5_000

/** Opens what a worker needs, in order, and takes jobs. @returns how to stop: take no more, drain, hand back, close. */
async function start(config: Config, log: Logger, signal: AbortSignal): Promise<() => Promise<void>> {
  const operator = loadOperatorConfig(config.operatorConfigFile, process.env)
  const { worker: settings, redis: redisConfig, secrets } = config
  const redis = createRedis(redisConfig.url, 'commands', log, redisConfig.timeoutMs)
  const blocking = createRedis(redisConfig.url, 'blocking', log)
  const subscriber = createRedis(redisConfig.url, 'blocking', log)
  const closeConnections = () =>
    [redis, blocking, subscriber].forEach((connection) => connection.disconnect())
  const store = openFileStore(config.files.place, { hasEndpoint: config.files.hasS3Endpoint })
  try {
    await checkRedis(redis, log, signal)
    await store.check()
  } catch (error) {
    closeConnections()
    throw error
  }

  // The host's name lets a container's health check find its own worker's heartbeat.
  const workerId = `w-${hostname()}-${randomBytes(8).toString('hex')}`
  const keys = createKeys(redisConfig.keyPrefix)
  const ids = createIds(secrets.idSecret)
  const sealer = createSealer(secrets.encryptionKeys)
  const queue = createJobQueue(redis, keys)
  const window = createWindow(redis, keys)
  const feed = createFeeder(window, queue, log)
  const settle = createSettle({ redis, keys, sealer, ids, ...config.jobs })
  const claims = createClaims({ redis, keys, sealer, leaseMs: settings.leaseMs })
  const running = new RunningJobs(claims, settings.leaseMs, log)
  const settled = createSettledListener(subscriber, keys)
  settled.onCancel((jobId) => running.cancel(jobId))
  await settled.start()

  const { allowedCidrs, webhookAllowedCidrs, fileAllowedCidrs, testResolve, testCaFile } = config.egress
  const forbidden = ownTargets(config.listen, redisConfig.url)
  const policy = createEgressPolicy({ allowedCidrs, forbidden })
  const fileEgress = {
    policy: createEgressPolicy({
      allowedCidrs: fileAllowedCidrs,
      setting: 'GATEWAY_FILE_ALLOWED_CIDRS',
      forbidden,
    }),
    allowedHosts: operator.generalSettings.allowedClientHosts,
  }
  const outbound = createOutbound({ policy, files: fileEgress, testResolve, testCaFile })
  const webhooks = { allowedCidrs: webhookAllowedCidrs, setting: 'GATEWAY_WEBHOOK_ALLOWED_CIDRS', forbidden }
  const webhookPolicy = createEgressPolicy(webhooks)
  const webhookOutbound = createOutbound({ policy: webhookPolicy, testResolve, testCaFile })

  const deliveryQueue = createDeliveryQueue(redis, keys)
  const deliveries = createDeliveries({
    redis,
    keys,
    ids,
    sealer,
    queue: deliveryQueue,
    ...config.webhooks,
  })
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
  const state = createDeploymentState({
    redis,
    keys,
    windowMs: settings.limitWindowMs,
    leaseMs: settings.leaseMs,
    retryAfterMsMin: 2 * settings.retryInitialMs,
    wakeOthers: async (holders) => {
      const [lines, jobIds] = [holders.filter(isLineId), holders.filter((id) => !isLineId(id))]
      const ended = await Promise.all([window.wakeNow(jobIds), batches.wakeLines(lines)])
      void feed()
      if (lines.length > 0) void batches.feed()
      return ended.flat()
    },
  })
  settled.onWake((jobId) => state.wake(jobId))
  state.start()
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
    providers: createProviders(outbound),
    operatorBundles: operatorBundles(operator, ids),
    crashesMax: settings.crashesMax,
    retryInitialMs: settings.retryInitialMs,
    random: Math.random,
    log,
    afterSettle,
    afterSnooze: (tenantsWaiting) => void (tenantsWaiting > 0 && feed()),
  })
  const slots = createSlots(settings.concurrency)
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
    planDependencies: {
      operator,
      ids,
      egress: policy,
      cache: createPlanCache(),
      plans: createLinePlans(),
    },
    leaseMs: settings.leaseMs,
    windowMs: settings.limitWindowMs,
    ...config.batches,
    limits: config.files,
    news,
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
  const own = settings.concurrency
  const beat = async (count: number): Promise<number> => {
    try {
      return await window.beat(workerId, count, settings.heartbeatMs * 5)
    } catch (error) {
      log.warn({ err: error }, 'This worker could not say that it lives; trying again')
      return own
    }
  }
  const chunks = chunksAtOnce(own, await beat(own))
  running.start()
  batches.chunks.start()
  const forQueues = { redis: blocking, keys, log, ...settings }
  const jobsWorkers = startJobsWorkers((fed) => slots.forJob(() => completion.run(fed)), forQueues)
  const batchesWorker = startBatchesWorker(batches.run, { ...forQueues, concurrency: chunks })
  const checksWorker = startChecksWorker(batches.run, forQueues)
  const deliver = createDeliveryProcessor({
    deliveries,
    endpoints,
    post: webhookOutbound.post,
    ...config.webhooks,
    random: Math.random,
    log,
  })
  const webhookWorker = startWorker<DeliveryEntry>(WEBHOOKS_QUEUE, deliver, {
    ...forQueues,
    concurrency: WEBHOOK_SLOTS,
  })
  const heartbeat = setInterval(() => {
    void beat(own).then((all) => (batchesWorker.concurrency = chunksAtOnce(own, all)))
  }, settings.heartbeatMs)
  sweeper.start()
  void feed()
  void batches.feed()
  log.info({ worker_id: workerId, concurrency: settings.concurrency }, 'The worker takes jobs')

  return async () => {
    clearInterval(heartbeat)
    await beat(0)
    slots.drain()
    batches.drain()
    const workers = [...jobsWorkers, batchesWorker, checksWorker, webhookWorker]
    const closed = Promise.all(workers.map((one) => one.close()))
    await drain([running, batches.chunks], closed, settings.drainMs, log)
    state.flush()
    state.close()
    // A BullMQ worker that lost its connection may never say that it is closed; nothing of a job depends on it any more.
    await Promise.race([Promise.all(workers.map((one) => one.close(true))), delay(CLOSE_MS)])
    await sweeper.close()
    running.close()
    await news.close()
    await batches.close()
    await store.close()
    settled.close()
    await Promise.all([queue.close(), deliveryQueue.close(), outbound.close(), webhookOutbound.close()])
    closeConnections()
  }
}

/** Lets the calls in flight finish; what is not done in time is handed back with its attempt marked. */
async function drain(
  running: readonly RunningJobs[],
  closed: Promise<unknown>,
  drainMs: number,
  log: Logger,
): Promise<void> {
  const timer = setTimeout(() => {
    const left = running.reduce((sum, { size }) => sum + size, 0)
    log.warn({ jobs: left }, 'Some calls did not finish in time and are handed back')
    for (const one of running) one.stopAll('drained')
  }, drainMs)
  // An entry that was being claimed when we stopped may still start: it is waited for as well.
  const idle = () => Promise.all(running.map((one) => one.idle()))
  const finish = async () => {
    await idle()
    await Promise.race([closed, delay(CLOSE_MS)])
    await idle()
  }
  await Promise.race([finish(), delay(drainMs + HAND_BACK_MS)])
  clearTimeout(timer)
}

await runProcess(process, process.env, 'worker', start)
