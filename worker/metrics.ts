import type { Redis } from 'ioredis'
import type { LineOutcome } from '../shared/batches/batch-results.ts'
import type { Config } from '../shared/config.ts'
import type { Logger } from '../shared/log.ts'
import { countEnds } from '../shared/metrics/end-metrics.ts'
import { openMetrics } from '../shared/metrics/metrics-port.ts'
import { watchRedis } from '../shared/metrics/redis-metrics.ts'
import { childrenOf, countOf, type Metrics } from '../shared/metrics/registry.ts'
import type { DeploymentState } from '../shared/routing/deployment-state.ts'
import { ErrorClass } from '../shared/schemas/error-class.ts'
import type { Sealer } from '../shared/seal.ts'
import { findProvider } from '../shared/settings/provider-catalog.ts'
import type { Deliveries, DeliveryOutcome } from '../shared/webhooks/deliveries.ts'
import type { Providers } from './attempt.ts'
import { createCooldownCount, createLimitSamples } from './deployment-metrics.ts'
import { isMocked } from './providers/mock.ts'
import type { CallOutcome, ProviderCall, StreamSink } from './providers/provider.ts'
import type { Slots } from './slots.ts'
import type { Watch } from './watch.ts'

/** What a worker's metrics are read from. */
type Shown = {
  redis: Redis
  /** All of this process. */
  connections: readonly Redis[]
  slots: Pick<Slots, 'use'>
  sealer: Pick<Sealer, 'sealedBytes'>
  watch: Pick<Watch, 'renewals'>
}

/** What a worker counts and shows, where metrics are wanted. */
export async function openWorkerMetrics(
  { metrics: place, worker }: Pick<Config, 'metrics' | 'worker'>,
  log: Logger,
  { redis, connections, slots, sealer, watch }: Shown,
): Promise<{ counts: WorkerCounts; close: () => void }> {
  const metrics = await openMetrics(place, 'worker', log)
  if (!metrics) return { counts: UNCOUNTED, close: () => undefined }
  showSlots(metrics, slots, worker.concurrency)
  metrics.total('sealed_bytes_total', 'Bytes that were sealed.', sealer.sealedBytes)
  metrics.total(
    'queues_renewed_total',
    'Queues that this worker began anew because they were asked for nothing.',
    watch.renewals,
  )
  const stopWatching = watchRedis(metrics, redis, connections)
  return {
    counts: createWorkerCounts(metrics),
    close() {
      stopWatching()
      metrics.close()
    },
  }
}

function showSlots(metrics: Metrics, slots: Pick<Slots, 'use'>, total: number): void {
  const all = metrics.gauge('slots', 'Calls that this worker can have under way at once.')
  const used = metrics.gauge('slots_used', 'Slots that are taken now.', ['kind'])
  const inLine = metrics.gauge('slots_waited_for', 'Jobs and lines that this worker has and no slot for.')
  metrics.beforeScrape(() => {
    const { jobs, lines, waiting } = slots.use()
    all.set(total)
    used.set({ kind: 'jobs' }, jobs)
    used.set({ kind: 'lines' }, lines)
    inLine.set(waiting)
  })
}

/** What a worker counts, put around what it has. */
export type WorkerCounts = ReturnType<typeof createWorkerCounts>

/** Without metrics all is left as it is. */
const UNCOUNTED: WorkerCounts = {
  providers: (providers) => providers,
  state: (state) => state,
  deliveries: (deliveries) => deliveries,
  settle: (settle) => settle,
  lineEnded: () => undefined,
}

const OUTCOMES: ReadonlySet<string> = new Set(['completed', 'aborted', ...ErrorClass.options])
/** Of calls that a deployment plays by itself. */
const MOCK = 'mock'
/** The provider catalog, as labels have it. */
const CATALOG = { has: (name: string) => name === MOCK || findProvider(name) !== undefined }
const DELIVERY_STATES: ReadonlySet<string> = new Set<DeliveryOutcome['state']>([
  'pending',
  'delivered',
  'exhausted',
  'gone',
  'disabled',
])
const LINE_OUTCOMES: ReadonlySet<string> = new Set<LineOutcome>([
  'completed',
  'failed',
  'expired',
  'cancelled',
])
const WAIT_REASONS: ReadonlySet<string> = new Set(['cooldown', 'limit', 'busy'])
const LAG_BUCKETS = [0.05, 0.15, 0.5, 1, 2.5, 5, 15, 60, 300, 1_800]

function createWorkerCounts(metrics: Metrics) {
  const attemptsOf = createAttemptCounts(metrics)
  const waits = metrics.counter(
    'deployment_waits_total',
    'Times that no deployment of a group was free, by what kept the one that is free first.',
    ['reason'],
  )
  const waitOf = childrenOf(WAIT_REASONS, (reason) => countOf(waits, reason))
  const noteCooldown = createCooldownCount(metrics)
  const sampleLimits = createLimitSamples(metrics)
  const tries = metrics.counter(
    'webhook_tries_total',
    'Tries of webhook deliveries, by what became of the delivery.',
    ['state'],
  )
  const tryOf = childrenOf(DELIVERY_STATES, (state) => countOf(tries, state))
  const lag = metrics.histogram(
    'webhook_lag_seconds',
    'From when a try of a delivery was due until a worker made it.',
    [],
    LAG_BUCKETS,
  )
  const lines = metrics.counter('batch_lines_ended_total', 'Lines of batches that ended.', ['status'])
  const lineOf = childrenOf(LINE_OUTCOMES, (status) => countOf(lines, status))

  return {
    /** Counts and times calls of providers. */
    providers:
      (providers: Providers): Providers =>
      (bundle) => {
        const provider = providers(bundle)
        const counts = attemptsOf(isMocked(bundle) ? MOCK : bundle.provider)
        return { call: (call) => counts.during(call, (counted) => provider.call(counted)) }
      },

    /** Counts waits and cooldowns, and samples how much of limits is used. */
    state: (state: DeploymentState): DeploymentState => ({
      ...state,
      async reserve(plan, candidates, request) {
        const reservation = await state.reserve(plan, candidates, request)
        if (reservation.kind === 'wait') waitOf(reservation.why).inc()
        const deployment = reservation.kind === 'wait' ? reservation.deployment : reservation.grant.deployment
        sampleLimits(state, plan, deployment)
        return reservation
      },
      async fail(plan, grant, failure) {
        const verdict = await state.fail(plan, grant, failure)
        if (verdict.coolsMs > 0) noteCooldown(grant.deployment.id, verdict.coolsMs)
        return verdict
      },
    }),

    /** Counts tries of deliveries, and how late they are. */
    deliveries: (deliveries: Deliveries): Deliveries => ({
      ...deliveries,
      async finish(claim, attempt, outcome, verdict) {
        const finished = await deliveries.finish(claim, attempt, outcome, verdict)
        tryOf(outcome.state).inc()
        lag.observe(claim.lateMs / 1_000)
        return finished
      },
    }),

    settle: countEnds(metrics),

    /** Counts the end of a line. */
    lineEnded(outcome: LineOutcome): void {
      lineOf(outcome).inc()
    },
  }
}

/** Counts calls by provider and outcome, and times them, by provider. */
function createAttemptCounts(metrics: Metrics) {
  const attempts = metrics.counter(
    'attempts_total',
    'Calls of providers that ended, by error class; `aborted` by a cancel, a deadline or a stop.',
    ['provider', 'outcome'],
  )
  const durations = metrics.histogram('attempt_duration_seconds', 'How long calls of providers took.', [
    'provider',
  ])
  const firstTokens = metrics.histogram(
    'first_token_seconds',
    'From a streamed call to the first piece of its answer.',
    ['provider'],
  )
  return childrenOf(CATALOG, (provider) => {
    const outcomeOf = childrenOf(OUTCOMES, (outcome) => countOf(attempts, provider, outcome))
    const [duration, firstToken] = [durations.labels(provider), firstTokens.labels(provider)]
    return {
      /** Counts and times one call. */
      async during(
        call: ProviderCall,
        run: (call: ProviderCall) => Promise<CallOutcome>,
      ): Promise<CallOutcome> {
        const startedAt = performance.now()
        const seconds = () => (performance.now() - startedAt) / 1_000
        const { sink } = call
        const outcome = await run(
          sink ? { ...call, sink: onFirst(sink, () => firstToken.observe(seconds())) } : call,
        )
        duration.observe(seconds())
        outcomeOf(nameOf(outcome, call.signal)).inc()
        return outcome
      },
    }
  })
}

function nameOf(outcome: CallOutcome, { aborted }: AbortSignal): string {
  if (outcome.kind === 'reply') return 'completed'
  return aborted ? 'aborted' : outcome.error.class
}

function onFirst(sink: StreamSink, note: () => void): StreamSink {
  let isFirst = true
  return {
    write(events) {
      if (isFirst) note()
      isFirst = false
      sink.write(events)
    },
  }
}
