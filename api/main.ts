import type { Redis } from 'ioredis'
import { createAccounts } from '../shared/tenants/accounts.ts'
import { createApiKeys } from '../shared/tenants/api-keys.ts'
import { createCapacity } from '../shared/capacity.ts'
import type { Config } from '../shared/config.ts'
import { createDeploymentState } from '../shared/routing/deployment-state.ts'
import { createEgressPolicy, ownTargets } from '../shared/egress.ts'
import { openFileStore, type FileStore } from '../shared/files/file-store.ts'
import { createIds } from '../shared/ids.ts'
import { createJobs } from '../shared/jobs/jobs.ts'
import { createJobStreams } from '../shared/jobs/job-streams.ts'
import { createKeys } from '../shared/keys.ts'
import type { Logger } from '../shared/log.ts'
import { loadOperatorConfig, type OperatorConfig } from '../shared/settings/operator-config.ts'
import { createJobQueue } from '../shared/jobs/queues.ts'
import { checkRedis } from '../shared/redis-check.ts'
import { createPlanCache } from '../shared/plans/plan-cache.ts'
import { createRedis } from '../shared/redis.ts'
import { runProcess } from '../shared/run-process.ts'
import { createSealer } from '../shared/seal.ts'
import { createSettledListener } from '../shared/jobs/settled.ts'
import { createSettle } from '../shared/jobs/settle.ts'
import { createStoredCredentials } from '../shared/credentials/stored-credentials.ts'
import { createStreamListener } from '../shared/jobs/stream-listener.ts'
import { createTenants } from '../shared/tenants/tenants.ts'
import { createUsage } from '../shared/tenants/usage.ts'
import { createWindow } from '../shared/jobs/window.ts'
import { buildApp } from './app.ts'
import { openBatches } from './batches.ts'
import { createHolds } from './holds.ts'
import { createKeyCache } from './key-cache.ts'
import { openApiMetrics } from './metrics.ts'
import { createPresence } from './presence.ts'
import { openWebhooks } from './webhooks.ts'

/** Opens what the API needs, in order, and listens. @returns how to close all of it, in reverse. */
async function start(config: Config, log: Logger, signal: AbortSignal): Promise<() => Promise<void>> {
  const operator = loadOperatorConfig(config.operatorConfigFile, process.env)
  for (const warning of operator.warnings) log.warn(`${config.operatorConfigFile}: ${warning}`)
  const store = openFileStore(config.files.place, { hasEndpoint: config.files.hasS3Endpoint })
  const redis = createRedis(config.redis.url, 'commands', log, config.redis.timeoutMs)
  const subscriber = createRedis(config.redis.url, 'blocking', log)
  // Its messages are bytes: on a connection of their own they are not decoded as text as well.
  const streamSubscriber = createRedis(config.redis.url, 'blocking', log)
  const closeConnections = async () => {
    redis.disconnect()
    subscriber.disconnect()
    streamSubscriber.disconnect()
    await store.close()
  }
  try {
    await checkRedis(redis, log, signal)
    await store.check()
    const closeApi = await serve(config, log, { operator, redis, subscriber, streamSubscriber, store })
    return async () => {
      await closeApi()
      await closeConnections()
    }
  } catch (error) {
    await closeConnections()
    throw error
  }
}

type Connections = {
  operator: OperatorConfig
  redis: Redis
  subscriber: Redis
  streamSubscriber: Redis
  store: FileStore
}

async function serve(
  config: Config,
  log: Logger,
  { operator, redis, subscriber, streamSubscriber, store }: Connections,
): Promise<() => Promise<void>> {
  const { redis: redisConfig, jobs: times, listen, secrets } = config
  const masterKey = secrets.masterKey ?? operator.generalSettings.masterKey
  if (masterKey === null) log.warn('No master key is set: only keys made by `keys create` are accepted')
  const keys = createKeys(redisConfig.keyPrefix)
  const ids = createIds(secrets.idSecret)
  const sealer = createSealer(secrets.encryptionKeys)
  const forbidden = ownTargets(listen, redisConfig.url)
  const queue = createJobQueue(redis, keys)
  const window = createWindow(redis, keys)
  const { highWater, bytesMax: redisBytesMax } = redisConfig
  const capacity = createCapacity({ redis, keys, log, highWater, bytesMax: redisBytesMax })
  await capacity.start()
  const connections = [redis, subscriber, streamSubscriber]
  const metrics = await openApiMetrics(config, log, { redis, connections, shards: [keys], capacity, sealer })
  const { counts } = metrics
  const settle = counts.settle(createSettle({ redis, keys, sealer, ids, ...times }))
  const jobs = counts.jobs(
    createJobs({ redis, queue, keys, sealer, ids, window, settle, log, capacity, ...times }),
  )
  const settled = createSettledListener(subscriber, keys)
  await settled.start()
  settled.lookAfter(redis)
  const streams = createStreamListener(streamSubscriber, createJobStreams({ redis, keys, sealer }), keys)
  const { batchBytesMax: bytesMax, lineBytesMax, linesMax, tenantBytesMax } = config.files
  const batches = openBatches({
    redis,
    subscriber,
    keys,
    ids,
    sealer,
    store,
    log,
    inputLimits: { bytesMax, lineBytesMax, linesMax },
    tenantBytesMax,
    capacity,
    retentionMs: config.batches.retentionMs,
    idempotencyRetentionMs: times.idempotencyRetentionMs,
  })
  const webhooks = openWebhooks({ redis, keys, ids, sealer, capacity, ...config.webhooks })
  const apiKeys = createApiKeys({ redis, keys })
  const tenants = createTenants({ redis, keys, ids })
  const keyCache = createKeyCache({ apiKeys, tenants, subscriber, keys })
  // Read only: calls are made, and places handed on, by workers.
  const { limitWindowMs: windowMs, leaseMs } = config.worker
  const state = createDeploymentState({ redis, keys, windowMs, leaseMs, wakeOthers: async () => [] })
  const presence = createPresence({ redis, keys, jobs, ...times })
  const app = await buildApp({
    log,
    redis,
    capacity,
    jobs,
    ...batches.services,
    ...webhooks.services,
    fileBytesMax: config.files.bytesMax,
    settled,
    streams,
    state,
    ids,
    apiKeys,
    tenants,
    accounts: createAccounts({ redis, keys, ids }),
    usage: createUsage({ redis, keys }),
    keyCache,
    credentials: createStoredCredentials({ redis, keys, ids, sealer, capacity }),
    operator,
    cache: createPlanCache(),
    masterKey,
    times,
    egress: createEgressPolicy({ allowedCidrs: config.egress.allowedCidrs, forbidden }),
    webhookEgress: createEgressPolicy({
      allowedCidrs: config.egress.webhookAllowedCidrs,
      setting: 'GATEWAY_WEBHOOK_ALLOWED_CIDRS',
      forbidden,
    }),
    holds: createHolds(),
    syncHoldMs: times.syncHoldMs,
    presence,
    heartbeatMs: times.streamHeartbeatMs,
    bodyBytesMax: listen.bodyBytesMax,
    idSecret: secrets.idSecret,
    counts,
  })
  const address = await app.listen({ host: listen.host, port: listen.port })
  log.info({ address }, 'The API listens')

  return async () => {
    await app.close()
    await presence.close()
    capacity.close()
    keyCache.close()
    settled.close()
    metrics.close()
    await Promise.all([queue.close(), batches.close(), webhooks.close()])
  }
}

await runProcess(process, process.env, 'api', start)
