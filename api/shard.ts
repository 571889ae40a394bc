import type { Redis } from 'ioredis'
import type { Capacity } from '../shared/capacity.ts'
import type { Config } from '../shared/config.ts'
import { createStoredCredentials } from '../shared/credentials/stored-credentials.ts'
import type { FileStore } from '../shared/files/file-store.ts'
import type { Ids } from '../shared/ids.ts'
import { createJobStreams } from '../shared/jobs/job-streams.ts'
import { createJobs } from '../shared/jobs/jobs.ts'
import { createJobQueue } from '../shared/jobs/queues.ts'
import { randomPart } from '../shared/random.ts'
import { createSettledListener } from '../shared/jobs/settled.ts'
import { createSettle } from '../shared/jobs/settle.ts'
import { createWindow } from '../shared/jobs/window.ts'
import type { Keys } from '../shared/keys.ts'
import type { Logger } from '../shared/log.ts'
import type { Sealer } from '../shared/seal.ts'
import { createAccounts } from '../shared/tenants/accounts.ts'
import { createTenants } from '../shared/tenants/tenants.ts'
import { createUsage } from '../shared/tenants/usage.ts'
import type { Tracing } from '../shared/tracing.ts'
import { openBatches } from './batches.ts'
import { openDurable } from './durable.ts'
import type { ApiCounts } from './metrics.ts'
import { createPresence } from './presence.ts'
import { openWebhooks } from './webhooks.ts'

/** What an API process has once, for all shards. */
export type ApiProcess = {
  config: Config
  log: Logger
  tracing: Tracing
  redis: Redis
  subscriber: Redis
  store: FileStore
  ids: Ids
  sealer: Sealer
  capacity: Capacity
  counts: ApiCounts
}

/** Opens what the API has for the tenants of one shard. */
export async function openShard(keys: Keys, own: ApiProcess) {
  const { config, log, redis, subscriber, store, ids, sealer, capacity } = own
  const { jobs: times } = config
  const queue = createJobQueue(redis, keys, own.tracing.telemetry)
  const window = createWindow(redis, keys)
  const settle = own.counts.settle(createSettle({ redis, keys, sealer, ids, ...times }))
  const durable = openDurable(config.redis, keys, log)
  const jobs = durable.jobs(
    own.counts.jobs(createJobs({ redis, queue, keys, sealer, ids, window, settle, log, capacity, ...times })),
  )
  const settled = createSettledListener(subscriber, keys, randomPart(9).toString('base64url'))
  await settled.start()
  settled.lookAfter(redis)
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
  const presence = createPresence({ redis, keys, jobs, ...times })

  return {
    /** Of the tenants that live here. */
    tenants: createTenants({ redis, keys, ids }),
    usage: createUsage({ redis, keys }),
    streamOf: createJobStreams({ redis, keys, sealer }),
    /** What the routes need. */
    services: {
      jobs,
      settled,
      presence,
      accounts: createAccounts({ redis, keys, ids }),
      credentials: createStoredCredentials({ redis, keys, ids, sealer, capacity }),
      ...batches.services,
      batches: durable.batches(batches.services.batches),
      requireDurability: durable.require,
      untilDurable: durable.file,
      ...webhooks.services,
    },
    async close(): Promise<void> {
      await presence.close()
      durable.close()
      settled.close()
      await Promise.all([queue.close(), batches.close(), webhooks.close()])
    },
  }
}

export type ApiShard = Awaited<ReturnType<typeof openShard>>
