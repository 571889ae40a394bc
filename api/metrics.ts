import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { Redis } from 'ioredis'
import type { Capacity } from '../shared/capacity.ts'
import type { Config } from '../shared/config.ts'
import type { CreateResult, Jobs } from '../shared/jobs/jobs.ts'
import type { Keys } from '../shared/keys.ts'
import type { Logger } from '../shared/log.ts'
import { CLASSES, countEnds, MODES } from '../shared/metrics/end-metrics.ts'
import { openMetrics } from '../shared/metrics/metrics-port.ts'
import { createQueueReader, showQueues } from '../shared/metrics/queue-metrics.ts'
import { showRedisState, watchRedis } from '../shared/metrics/redis-metrics.ts'
import { childrenOf, countOf, type Metrics } from '../shared/metrics/registry.ts'
import type { Sealer } from '../shared/seal.ts'

/** By the first digit of a status. */
const STATUS_CLASSES = ['other', '1xx', '2xx', '3xx', '4xx', '5xx']
/** What a submit that makes no new job is answered. */
const REPLIES: ReadonlySet<string> = new Set<CreateResult['kind']>([
  'replayed',
  'attached',
  'retried',
  'mismatch',
  'refused',
])
const ANY = { has: () => true }

/**
 * What the API counts and shows, where metrics are wanted. It also shows what waits in Redis for all processes: an API is
 * there to tell when every worker is gone.
 */
export async function openApiMetrics(
  { metrics: place, redis: { bytesMax } }: Pick<Config, 'metrics' | 'redis'>,
  log: Logger,
  { redis, connections, shards, capacity, sealer }: Shown,
): Promise<{ counts: ApiCounts; close: () => void }> {
  const metrics = await openMetrics(place, 'api', log)
  if (!metrics) return { counts: UNCOUNTED, close: () => undefined }
  const readers = shards.map((keys) => createQueueReader(redis, keys))
  showQueues(metrics, readers)
  showRedisState(metrics, redis, bytesMax)
  metrics.total('sealed_bytes_total', 'Bytes that were sealed.', sealer.sealedBytes)
  const accepts = metrics.gauge(
    'accepts_submits',
    '1 while submits are stored, 0 while Redis is full or can not save.',
  )
  metrics.beforeScrape(() => accepts.set(capacity.state() === 'open' ? 1 : 0))
  const stopWatching = watchRedis(metrics, redis, connections)
  return {
    counts: createApiCounts(metrics),
    close() {
      stopWatching()
      metrics.close()
    },
  }
}

/** What an API's metrics are read from. */
type Shown = {
  redis: Redis
  /** All of this process. */
  connections: readonly Redis[]
  shards: readonly Keys[]
  capacity: Pick<Capacity, 'state'>
  sealer: Pick<Sealer, 'sealedBytes'>
}

/** What the API counts, put around what it has. */
export type ApiCounts = ReturnType<typeof createApiCounts>

/** Without metrics all is left as it is. */
const UNCOUNTED: ApiCounts = {
  http: () => undefined,
  jobs: (jobs) => jobs,
  settle: (settle) => settle,
}

function createApiCounts(metrics: Metrics) {
  const requests = metrics.counter('http_requests_total', 'Requests that were answered.', [
    'route',
    'method',
    'status',
  ])
  const durations = metrics.histogram(
    'http_request_duration_seconds',
    'From the arrival of a request to the end of its answer, held calls and streams included.',
    ['route', 'method'],
  )
  const submitted = metrics.counter('jobs_submitted_total', 'Jobs that were accepted.', ['class', 'mode'])
  const answered = metrics.counter(
    'submits_answered_total',
    'Submits that made no new job, by what they were answered.',
    ['as'],
  )
  const submitsOf = childrenOf(CLASSES, (priority) =>
    childrenOf(MODES, (mode) => countOf(submitted, priority, mode)),
  )
  const answersOf = childrenOf(REPLIES, (as) => countOf(answered, as))

  /** Counts what one route answers; its own text is the label, not what it was called with. */
  function observerOf(route: string, method: string) {
    const byStatus = childrenOf(ANY, (status) => requests.labels(route, method, status))
    const duration = durations.labels(route, method)
    return (_request: FastifyRequest, reply: FastifyReply, done: () => void): void => {
      byStatus(STATUS_CLASSES[Math.floor(reply.statusCode / 100)] ?? 'other').inc()
      duration.observe(reply.elapsedTime / 1_000)
      done()
    }
  }

  return {
    /** Counts all that is served; before any route is there. */
    http(app: FastifyInstance): void {
      const unknown = observerOf('unknown', 'any')
      app.addHook('onResponse', (request, reply, done) => {
        if (request.is404) unknown(request, reply, done)
        else done()
      })
      app.addHook('onRoute', (route) => {
        const others = route.onResponse === undefined ? [] : [route.onResponse].flat()
        const method = typeof route.method === 'string' ? route.method : 'any'
        route.onResponse = [...others, observerOf(templateOf(route.url), method)]
      })
    },

    /** Counts what is submitted. */
    jobs: (jobs: Jobs): Jobs => ({
      ...jobs,
      async create(input) {
        const result = await jobs.create(input)
        if (result.kind === 'created') submitsOf(input.priority)(input.mode).inc()
        else answersOf(result.kind).inc()
        return result
      },
    }),

    settle: countEnds(metrics),
  }
}

/** The same route under `/v1` and without it is one. */
function templateOf(url: string): string {
  return url.replace(/^\/v1(?=\/)/, '')
}
