import type { Telemetry } from 'bullmq'
import type { Logger } from './log.ts'
import type { Attempt } from './schemas/job.ts'
import type { PlanDeployment } from './schemas/plan.ts'

// A collector that is away is so every few seconds.
const TROUBLE_TOLD_MS = 60_000

/** A request to the API, in its trace. */
export type RequestTrace = {
  /** 32 hex digits; for lines of the log. */
  traceId: string
  /**
   * Stores what the request submits.
   * @param submitted `trace`: of the job that it runs again; its trace is linked.
   * @param store Gets the trace as the record keeps it: a W3C `traceparent`.
   */
  submit: <Result extends { kind: string; id?: string }>(
    submitted: { noun: 'job' | 'batch'; id: string; trace?: string | undefined },
    store: (trace: string) => Promise<Result>,
  ) => Promise<Result>
  /**
   * @param route As it was registered; what the client wrote in its place is not told.
   * @param status Null: the client left before it had its answer.
   */
  end: (route: string | undefined, status: number | null) => void
}

/** A call of a provider that has ended. */
export type EndedCall = {
  /** Path of the job's endpoint. */
  endpoint: string
  deployment: PlanDeployment
  attempt: Attempt
  /** The provider's answer, which is looked through for its model and why it ended; null: none came. */
  body: Buffer | null
  cachedTokens: number | null
  /** Milliseconds from the start to the first piece of a streamed answer. */
  firstTokenMs: number | null
}

/** Why a call is not made at once. */
export type WaitReason = 'cooldown' | 'limit' | 'busy' | 'backoff'

/** One claim of a job or of a line of a batch, in its trace. */
export type WorkTrace = {
  /** Null: nothing is traced. */
  traceId: string | null
  called: (call: EndedCall) => void
  waits: (why: WaitReason, waitMs: number) => void
}

/** What a worker has claimed. `trace`: as its record keeps it; of a line, its batch's. */
export type TracedWork = { noun: 'job' | 'line'; id: string; trace: string | undefined }

/** One try of a delivery that has ended. */
export type EndedTry = {
  trace: string | undefined
  deliveryId: string
  /** Of the event. */
  type: string
  number: number
  startedMs: number
  durationMs: number
  statusCode: number | null
  error: string | null
}

/**
 * What the processes tell of a request's way: from the API by way of the queue and a worker to the provider and the
 * webhook. Records keep where a trace goes on, so it does so whoever takes them up, and however often.
 */
export type Tracing = {
  /** A request that came in; null: nothing is traced. @param traceparent Of its caller, where there is one. */
  request: (method: string, traceparent: string | undefined) => RequestTrace | null
  /** Runs what was claimed. */
  work: <Outcome extends { kind: string }>(
    work: TracedWork,
    run: (trace: WorkTrace) => Promise<Outcome>,
  ) => Promise<Outcome>
  /** Runs a piece of a batch. */
  piece: (
    batch: { batchId: string; chunk: string; trace: string | undefined },
    run: () => Promise<void>,
  ) => Promise<void>
  /** @returns the id of the trace that the try is told in; null: none. */
  tried: (ended: EndedTry) => string | null
  /** For the queue of jobs and its workers. */
  telemetry: Telemetry | undefined
  /** Sends off what is not sent yet, as far as that can be done soon. */
  close: () => Promise<void>
}

/** Of work that is not traced. */
export const UNTRACED: WorkTrace = { traceId: null, called: () => undefined, waits: () => undefined }

/** Nothing is traced. */
export const NO_TRACING: Tracing = {
  request: () => null,
  work: (_work, run) => run(UNTRACED),
  piece: (_batch, run) => run(),
  tried: () => null,
  telemetry: undefined,
  close: () => Promise.resolve(),
}

/** Whether the environment says where traces go, by the names that OpenTelemetry gives its settings. */
export function isTraced(environment: Record<string, string | undefined>): boolean {
  const {
    OTEL_SDK_DISABLED: disabled = '',
    OTEL_TRACES_EXPORTER: exporter = '',
    OTEL_EXPORTER_OTLP_ENDPOINT: endpoint = '',
    OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: tracesEndpoint = '',
  } = environment
  if (disabled.toLowerCase() === 'true' || exporter === 'none') return false
  return [exporter, endpoint, tracesEndpoint].some((value) => value !== '')
}

/** Traces where the environment says so; else nothing of OpenTelemetry is loaded. */
export async function openTracing(
  environment: Record<string, string | undefined>,
  process: 'api' | 'worker',
  log: Logger,
): Promise<Tracing> {
  if (!isTraced(environment)) return NO_TRACING
  const { startTracing } = await import('./tracing-otel.ts')
  let toldAt = Number.NEGATIVE_INFINITY
  return startTracing(process, {
    hasSampler: Boolean(environment.OTEL_TRACES_SAMPLER),
    warn(message) {
      if (performance.now() < toldAt + TROUBLE_TOLD_MS) return
      toldAt = performance.now()
      // An exporter's own words, which may name where it exports to.
      log.warn({ otel: message.slice(0, 200) }, 'Traces have trouble on their way')
    },
  })
}
