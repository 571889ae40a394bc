import type { Redis } from 'ioredis'
import { createApiKeys } from '../shared/tenants/api-keys.ts'
import { createCapacity } from '../shared/capacity.ts'
import type { Config } from '../shared/config.ts'
import { createDeploymentState } from '../shared/routing/deployment-state.ts'
import { createEgressPolicy, ownTargets } from '../shared/egress.ts'
import { openFileStore, type FileStore } from '../shared/files/file-store.ts'
import { createIds } from '../shared/ids.ts'
import type { JobStreams } from '../shared/jobs/job-streams.ts'
import { createKeys } from '../shared/keys.ts'
import type { Logger } from '../shared/log.ts'
import { loadOperatorConfig, type OperatorConfig } from '../shared/settings/operator-config.ts'
import { checkRedis, onceThere } from '../shared/redis-check.ts'
import { createPlanCache } from '../shared/plans/plan-cache.ts'
import { createRedis, createSubscriber } from '../shared/redis.ts'
import { runProcess } from '../shared/run-process.ts'
import { createSealer } from '../shared/seal.ts'
import { claimShards, ofTenant, shardKeys } from '../shared/shards.ts'
import { createStreamListener } from '../shared/jobs/stream-listener.ts'
import { joinTenants } from '../shared/tenants/tenants.ts'
import type { TenantDay } from '../shared/tenants/usage.ts'
import { openTracing, type Tracing } from '../shared/tracing.ts'
import { buildApp } from './app.ts'
import { createBoard } from './board.ts'
import { buildFront } from './front.ts'
import { createHolds } from './holds.ts'
import { createKeyCache } from './key-cache.ts'
import { openApiMetrics } from './metrics.ts'
import { createAuth } from './plugins/auth.ts'
import { createReadiness } from './readiness.ts'
import { openShard } from './shard.ts'

/** Opens what the API needs, in order, and listens. @returns how to close all of it, in reverse. */
async function start(config: Config, log: Logger, signal: AbortSignal): Promise<() => Promise<void>> {
  const operator = loadOperatorConfig(config.operatorConfigFile, process.env)
  for (const warning of operator.warnings) log.warn(`${config.operatorConfigFile}: ${warning}`)
  const store = openFileStore(config.files.place, { hasEndpoint: config.files.hasS3Endpoint })
  const { url, timeoutMs, silenceMs } = config.redis
  const redis = createRedis(url, 'commands', log, timeoutMs, silenceMs)
  const subscriber = createSubscriber(url, log, silenceMs)
  // Its messages are bytes: on a connection of their own they are not decoded as text as well.
  const streamSubscriber = createSubscriber(url, log, silenceMs)
  const closeConnections = async () => {
    redis.disconnect()
    subscriber.disconnect()
    streamSubscriber.disconnect()
    await store.close()
  }
  try {
    await checkRedis(redis, log, signal)
    const { keyPrefix, shards } = config.redis
    await onceThere(redis, () => claimShards(redis, createKeys(keyPrefix), shards), log, signal)
    await store.check()
    const tracing = await openTracing(process.env, 'api', log)
    const connections = { operator, redis, subscriber, streamSubscriber, store, tracing }
    const closeApi = await serve(config, log, connections)
    return async () => {
      await closeApi()
      await tracing.close()
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
  tracing: Tracing
}

async function serve(
  config: Config,
  log: Logger,
  { operator, redis, subscriber, streamSubscriber, store, tracing }: Connections,
): Promise<() => Promise<void>> {
  const { redis: redisConfig, jobs: times, listen, secrets } = config
  const masterKey = secrets.masterKey ?? operator.generalSettings.masterKey
  if (masterKey === null) log.warn('No master key is set: only keys made by `keys create` are accepted')
  const keys = createKeys(redisConfig.keyPrefix)
  const keysOfShards = shardKeys(redisConfig.keyPrefix, redisConfig.shards)
  const ids = createIds(secrets.idSecret)
  const sealer = createSealer(secrets.encryptionKeys)
  const forbidden = ownTargets(listen, redisConfig.url)
  const { highWater, bytesMax: redisBytesMax } = redisConfig
  const capacity = createCapacity({ redis, keys: keysOfShards, log, highWater, bytesMax: redisBytesMax })
  await capacity.start()
  const connections = [redis, subscriber, streamSubscriber]
  const shown = { redis, connections, shards: keysOfShards, capacity, sealer }
  const metrics = await openApiMetrics(config, log, shown)
  const { counts } = metrics
  const own = { config, log, tracing, redis, subscriber, store, ids, sealer, capacity, counts }
  const shards = await Promise.all(keysOfShards.map((keysOfShard) => openShard(keysOfShard, own)))
  const streamOf: JobStreams = (tenant, id) => ofTenant(shards, tenant).streamOf(tenant, id)
  const apiKeys = createApiKeys({ redis, keys })
  const tenants = joinTenants(shards.map((shard) => shard.tenants))
  const keyCache = createKeyCache({ apiKeys, tenants, subscriber, keys })
  // Read only: calls are made, and places handed on, by workers.
  const { limitWindowMs: windowMs, leaseMs } = config.worker
  const state = createDeploymentState({ redis, keys, windowMs, leaseMs, wakeOthers: async () => [] })
  const board = config.isBoardServed ? createBoard({ redis, shards: keysOfShards }) : null
  const readiness = createReadiness({
    redis,
    shards: keysOfShards,
    // Workers first see to it themselves.
    stallMs: 2 * config.stallMs,
    deliveryMs: config.webhooks.timeoutMs,
    log,
  })
  const deps = {
    log,
    board,
    tracing,
    redis,
    capacity,
    readiness,
    fileBytesMax: config.files.bytesMax,
    streams: createStreamListener(streamSubscriber, streamOf, keys),
    state,
    ids,
    apiKeys,
    tenants,
    usage: { read: (day: TenantDay) => ofTenant(shards, day.tenant).usage.read(day) },
    keyCache,
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
    heartbeatMs: times.streamHeartbeatMs,
    bodyBytesMax: listen.bodyBytesMax,
    idSecret: secrets.idSecret,
    counts,
  }
  const apps = await Promise.all(shards.map(({ services }) => buildApp({ ...deps, ...services })))
  const app = await buildFront(apps, { ...deps, principalOf: createAuth(keyCache, masterKey) })
  const address = await app.listen({ host: listen.host, port: listen.port })
  log.info({ address }, 'The API listens')
  readiness.start()

  return async () => {
    await app.close()
    await board?.close()
    readiness.close()
    capacity.close()
    keyCache.close()
    metrics.close()
    await Promise.all(shards.map((shard) => shard.close()))
  }
}

await runProcess(process, process.env, 'api', start)
