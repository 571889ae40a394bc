import { Worker } from 'bullmq'
import { Redis } from 'ioredis'
import { createDeliveries } from '../../shared/webhooks/deliveries.ts'
import { createDeliveryLog } from '../../shared/webhooks/delivery-log.ts'
import {
  createDeliveryQueue,
  WEBHOOKS_QUEUE,
  type DeliveryEntry,
} from '../../shared/webhooks/delivery-queue.ts'
import { createEgressPolicy } from '../../shared/egress.ts'
import type { JobInput } from '../../shared/jobs/jobs.ts'
import { createLog } from '../../shared/log.ts'
import type { EndpointSettings } from '../../shared/webhooks/webhook-endpoint-record.ts'
import { createWebhookEndpoints } from '../../shared/webhooks/webhook-endpoints.ts'
import { createEndedReader } from '../../shared/webhooks/webhooks.ts'
import { createAnnounce } from '../../worker/announce.ts'
import { createDeliveryProcessor } from '../../worker/delivery.ts'
import { createOutbound, type Outbound } from '../../worker/outbound.ts'
import { createReceivers } from '../../worker/receivers.ts'
import type { TestStore } from './store.ts'

const DAY_MS = 86_400_000

/** Of `testWebhooks`: derived secrets hang on it. */
export const ID_SECRET = 'a stable secret of this test run'

type Options = {
  scheduleSeconds?: number[]
  timeoutMs?: number
  leaseMs?: number
  /** Of the worker, and of its queue. */
  slots?: number
  lookAgainMs?: number
  breakerMs?: number
  rampMs?: number
  disableMs?: number
  retentionMs?: number
  allowedCidrs?: string[]
  /** In place of the door out. */
  post?: Outbound['post']
}

/** The outbox on a test's store, real queue included: announce, deliveries, and the processor behind the real door out. */
export function testWebhooks(store: TestStore, options: Options = {}) {
  const { redis, keys, sealer, ids } = store
  const { slots = 20, post } = options
  const times = {
    scheduleSeconds: options.scheduleSeconds ?? [0, 0.03, 0.03],
    timeoutMs: options.timeoutMs ?? 2_000,
    leaseMs: options.leaseMs ?? 5_000,
    lookAgainMs: options.lookAgainMs,
    breakerMs: options.breakerMs ?? 5_000,
    rampMs: options.rampMs ?? 5_000,
    disableMs: options.disableMs ?? 5 * DAY_MS,
    retentionMs: options.retentionMs ?? 30 * DAY_MS,
    eventRetentionMs: 30 * DAY_MS,
    jobRetentionMs: DAY_MS,
  }
  const log = createLog('silent', 'test')
  const queue = createDeliveryQueue(redis, keys)
  const endpoints = createWebhookEndpoints({ redis, keys, sealer, ids })
  const deliveries = createDeliveries({ redis, keys, ids, sealer, queue, ...times })
  const deliveryLog = createDeliveryLog({ redis, keys, queue, ...times })
  const announce = createAnnounce({
    readEnded: createEndedReader({ redis, keys, sealer }),
    deliveries,
    receiversOf: createReceivers({ endpoints, ids, idSecret: ID_SECRET }),
    ids,
    log,
  })
  const outbound = createOutbound({
    policy: createEgressPolicy({ allowedCidrs: options.allowedCidrs ?? ['127.0.0.0/8'] }),
  })
  const processor = createDeliveryProcessor({
    deliveries,
    endpoints,
    post: post ?? outbound.post,
    ...times,
    slots,
    random: Math.random,
    log,
  })

  /** An endpoint that is told of everything that ends well or not. */
  function endpoint(url: string, change: Partial<EndpointSettings> = {}, tenant = 'acme') {
    return endpoints.create(tenant, {
      name: 'all',
      url,
      eventTypes: ['job.completed', 'job.failed', 'batch.completed', 'webhook_endpoint.disabled'],
      customer: null,
      metadata: {},
      headers: {},
      isEnabled: true,
      ...change,
    })
  }

  /** What the queue holds of a delivery to a target. */
  const entryOf = async (deliveryId: string, tenant = 'acme'): Promise<DeliveryEntry> => {
    const targetId = (await redis.hget(keys.delivery(deliveryId), 'target')) ?? ''
    return { deliveryId, tenant, targetId }
  }

  /** Submits a job and ends it; it is not announced yet. */
  async function endJob(
    change: Partial<JobInput>,
    {
      status = 'completed',
      body = '{"id":"chatcmpl-1"}',
    }: { status?: 'completed' | 'failed'; body?: string } = {},
  ): Promise<string> {
    const created = await store.jobs.create(store.jobInput(change))
    if (created.kind !== 'created') throw new Error('not created')
    const entry = store.queued.find((job) => job.id === created.id)
    const claimed = entry && (await store.claims.claim(entry))
    if (claimed?.kind !== 'claimed') throw new Error('not claimed')
    const { id, subject, token } = claimed.claim
    const out = sealer.seal({ tenant: subject.tenant, kind: 'job', id, field: 'out' }, body)
    const usage = { input_tokens: 1, output_tokens: 2, total_tokens: 3, cached_input_tokens: 0 }
    const ended = { out, statusCode: status === 'completed' ? 200 : 400, usage }
    const error = { message: 'No.', type: 'invalid_request_error', param: null, code: 'bad' }
    const by = status === 'completed' ? 'complete' : 'claim'
    await store.settle.settle(subject, by, token, status, status === 'failed' ? error : null, '', ended)
    return id
  }

  /** Serves the queue as a worker process does; a fast stand-in for the sweeper enqueues what is due. */
  function startWorker(run: (entry: DeliveryEntry) => Promise<unknown> = processor) {
    const blocking = new Redis(store.url, { maxRetriesPerRequest: null })
    const worker = new Worker<DeliveryEntry>(WEBHOOKS_QUEUE, async ({ data }) => void (await run(data)), {
      connection: blocking,
      prefix: keys.queuePrefix,
      concurrency: slots,
      removeOnComplete: { count: 0 },
      removeOnFail: { count: 0 },
    })
    worker.on('error', () => {})
    const stopping = new AbortController()
    const feeding = (async () => {
      while (!stopping.signal.aborted) {
        await deliveries.feedDue()
        await new Promise((resolve) => setTimeout(resolve, 10))
      }
    })()
    return {
      async close() {
        stopping.abort()
        await feeding
        await worker.close()
        blocking.disconnect()
      },
    }
  }

  return {
    queue,
    deliveries,
    deliveryLog,
    endpoints,
    announce,
    processor,
    outbound,
    endpoint,
    entryOf,
    endJob,
    startWorker,
    deliveryId: (jobId: string, type = 'job.completed') => ids.deliveryId(ids.eventId(jobId, type), 'job'),
    async close() {
      await outbound.close()
      await queue.close()
    },
  }
}

export type TestWebhooks = ReturnType<typeof testWebhooks>
