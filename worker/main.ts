import { randomBytes } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { hostname } from 'node:os'
import type { Redis } from 'ioredis'
import type { Config } from '../shared/config.ts'
import { createDeploymentState } from '../shared/routing/deployment-state.ts'
import { openDurability } from '../shared/durability.ts'
import { createEgressPolicy, ownTargets } from '../shared/egress.ts'
import { openFileStore, type FileStore } from '../shared/files/file-store.ts'
import { createIds } from '../shared/ids.ts'
import { createKeys } from '../shared/keys.ts'
import type { Logger } from '../shared/log.ts'
import {
  loadOperatorConfig,
  operatorBundles,
  type OperatorConfig,
} from '../shared/settings/operator-config.ts'
import { createLinePlans } from '../shared/batches/line-plans.ts'
import { createPlanCache } from '../shared/plans/plan-cache.ts'
import { checkRedis, onceThere } from '../shared/redis-check.ts'
import { createRedis, createSubscriber } from '../shared/redis.ts'
import { runProcess } from '../shared/run-process.ts'
import { createSealer } from '../shared/seal.ts'
import { claimShards, shardKeys } from '../shared/shards.ts'
import { openWorkerMetrics } from './metrics.ts'
import { createOutbound } from './outbound.ts'
import { createProviders } from './providers/registry.ts'
import type { RunningJobs } from './running.ts'
import { openShard, type Shard } from './shard.ts'
import { openTracing, type Tracing } from '../shared/tracing.ts'
import { createSlots } from './slots.ts'
import { createWatch, type Watch } from './watch.ts'

const CLOSE_MS = 1_000
// For what drained calls still write; with Redis away a worker ends all the same.
const HAND_BACK_MS = 5_000

/** Opens what a worker needs, in order, and takes jobs. @returns how to stop: take no more, drain, hand back, close. */
async function start(
  config: Config,
  log: Logger,
  signal: AbortSignal,
  fail: (reason: string) => void,
): Promise<() => Promise<void>> {
  const operator = loadOperatorConfig(config.operatorConfigFile, process.env)
  const { redis: redisConfig } = config
  const { url, timeoutMs, silenceMs } = redisConfig
  const redis = createRedis(url, 'commands', log, timeoutMs, silenceMs)
  const openBlocking = () => createRedis(url, 'blocking', log, timeoutMs, silenceMs)
  const blocking = openBlocking()
  const subscriber = createSubscriber(url, log, silenceMs)
  const closeConnections = () =>
    [redis, blocking, subscriber].forEach((connection) => connection.disconnect())
  const store = openFileStore(config.files.place, { hasEndpoint: config.files.hasS3Endpoint })
  try {
    await checkRedis(redis, log, signal)
    const { keyPrefix, shards } = redisConfig
    await onceThere(redis, () => claimShards(redis, createKeys(keyPrefix), shards), log, signal)
    await store.check()
  } catch (error) {
    closeConnections()
    throw error
  }
  const tracing = await openTracing(process.env, 'worker', log)
  const watch = createWatch({ redis, open: openBlocking, stallMs: config.stallMs, fail, log })
  const stop = await work(config, log, { operator, redis, blocking, subscriber, store, tracing, watch })
  return async () => {
    watch.stop()
    await stop()
    watch.close()
    await tracing.close()
    closeConnections()
  }
}

type Connections = {
  operator: OperatorConfig
  redis: Redis
  blocking: Redis
  subscriber: Redis
  store: FileStore
  tracing: Tracing
  watch: Watch
}

async function work(
  config: Config,
  log: Logger,
  { operator, ...connections }: Connections,
): Promise<() => Promise<void>> {
  const { redis, blocking, subscriber, store } = connections
  const { worker: settings, redis: redisConfig, secrets } = config
  // The host's name lets a container's health check find its own worker's heartbeat.
  const workerId = `w-${hostname()}-${randomBytes(8).toString('hex')}`
  const keys = createKeys(redisConfig.keyPrefix)
  const ids = createIds(secrets.idSecret)
  const { policy, outbound, webhookOutbound } = openOutbounds(config, operator)
  const slots = createSlots(settings.concurrency)
  const sealer = createSealer(secrets.encryptionKeys)
  const connected = [redis, blocking, subscriber]
  const shown = { redis, connections: connected, slots, sealer, watch: connections.watch }
  const metrics = await openWorkerMetrics(config, log, shown)
  const { counts } = metrics
  const durability = openDurability(redisConfig, log)
  const shards: Shard[] = []
  const state = createDeploymentState({
    redis,
    keys,
    windowMs: settings.limitWindowMs,
    leaseMs: settings.leaseMs,
    retryAfterMsMin: 2 * settings.retryInitialMs,
    wakeOthers: (holders) => wakeIn(shards, holders),
  })
  state.start()
  const own = {
    ...connections,
    config,
    log,
    workerId,
    ids,
    sealer,
    slots,
    state: counts.state(state),
    providers: counts.providers(createProviders(outbound)),
    operatorBundles: operatorBundles(operator, ids),
    planDependencies: {
      operator,
      ids,
      egress: policy,
      cache: createPlanCache(),
      plans: createLinePlans(),
    },
    counts,
    webhookOutbound,
    durability,
  }
  const keysOfShards = shardKeys(redisConfig.keyPrefix, redisConfig.shards)
  shards.push(...(await Promise.all(keysOfShards.map((keysOfShard) => openShard(keysOfShard, own)))))
  const started = await Promise.all(shards.map((shard) => shard.start()))
  connections.watch.start()
  log.info({ worker_id: workerId, concurrency: settings.concurrency }, 'The worker takes jobs')

  return async () => {
    slots.drain()
    const left = await Promise.all(started.map((one) => one.leave()))
    const closed = Promise.all(left.map((one) => one.closed))
    const running = shards.flatMap((shard) => shard.running)
    await drain(running, closed, settings.drainMs, log)
    state.flush()
    state.close()
    // A BullMQ worker that lost its connection may never say that it is closed; nothing of a job depends on it any more.
    await Promise.race([Promise.all(started.map((one) => one.letGo())), delay(CLOSE_MS)])
    await Promise.all(shards.map((shard) => shard.close()))
    durability.close()
    await store.close()
    metrics.close()
    await Promise.all([outbound.close(), webhookOutbound.close()])
  }
}

/**
 * Wakes jobs and lines in whichever shard they are: a holder's id does not tell.
 * @returns those that have ended, since no shard has them.
 */
async function wakeIn(shards: readonly Shard[], holders: readonly string[]): Promise<string[]> {
  const answers = await Promise.all(shards.map((shard) => shard.wake(holders)))
  return holders.filter((holder) => answers.every((ended) => ended.includes(holder)))
}

/** The ways out: to providers and the files that prompts name, and to receivers of webhooks. */
function openOutbounds(config: Config, operator: OperatorConfig) {
  const { allowedCidrs, webhookAllowedCidrs, fileAllowedCidrs, testResolve, testCaFile } = config.egress
  const forbidden = ownTargets(config.listen, config.redis.url)
  const policy = createEgressPolicy({ allowedCidrs, forbidden })
  const files = {
    policy: createEgressPolicy({
      allowedCidrs: fileAllowedCidrs,
      setting: 'GATEWAY_FILE_ALLOWED_CIDRS',
      forbidden,
    }),
    allowedHosts: operator.generalSettings.allowedClientHosts,
  }
  const outbound = createOutbound({ policy, files, testResolve, testCaFile })
  const webhooks = { allowedCidrs: webhookAllowedCidrs, setting: 'GATEWAY_WEBHOOK_ALLOWED_CIDRS', forbidden }
  const webhookOutbound = createOutbound({ policy: createEgressPolicy(webhooks), testResolve, testCaFile })
  return { policy, outbound, webhookOutbound }
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
