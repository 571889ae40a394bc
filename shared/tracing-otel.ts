import { randomUUID } from 'node:crypto'
import {
  context,
  diag,
  DiagLogLevel,
  isSpanContextValid,
  ROOT_CONTEXT,
  SpanKind,
  SpanStatusCode,
  SamplingDecision,
  trace,
  TraceFlags,
  type Context,
  type Link,
  type Sampler,
  type Span,
  type SpanContext,
  type TextMapPropagator,
} from '@opentelemetry/api'
import { envDetector } from '@opentelemetry/resources'
import { NodeSDK } from '@opentelemetry/sdk-node'
import { genAiFacts, type SpanFacts } from './gen-ai-attributes.ts'
import { queueTelemetry } from './queue-telemetry.ts'
import type { EndedTry, Tracing } from './tracing.ts'

// A trace costs a tenth of its job, and more than a few of them tell no more.
const NEW_PER_SECOND = 50
// An exporter that hangs must not hold up the end of a process.
const CLOSE_MS = 3_000
const UNTOLD = { called: () => undefined, waits: () => undefined }
const SILENT = { info: () => undefined, debug: () => undefined, verbose: () => undefined }
const TRACEPARENT = /^00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})$/

/**
 * Starts OpenTelemetry as its environment variables say: where to, by which protocol, how much is sampled. Traces only, by
 * hand only: nothing is hooked into HTTP, so no header of a trace goes to a provider or a webhook.
 * @param hasSampler The environment says which traces are sampled; else a quiet process samples all, and a busy one so many a
 *   second that it costs little.
 * @param process Is told as `byok.process`, and in the service's name unless the environment gives one.
 */
export function startTracing(
  process: 'api' | 'worker',
  { hasSampler, warn }: { hasSampler: boolean; warn: (message: string) => void },
): Tracing {
  const own = {
    'service.name': `byok-gateway-${process}`,
    'service.instance.id': randomUUID(),
    'byok.process': process,
  }
  const sdk = new NodeSDK({
    resourceDetectors: [{ detect: () => ({ attributes: own }) }, envDetector],
    textMapPropagator: PROPAGATOR,
    metricReaders: [],
    logRecordProcessors: [],
    ...(hasSampler ? {} : { sampler: createSampler() }),
  })
  const pass = (text: string) => warn(messageIn(text))
  diag.setLogger({ ...SILENT, error: pass, warn: pass }, { logLevel: DiagLogLevel.WARN })
  sdk.start()
  return {
    request: startRequest,
    work: runWork,
    piece: runPiece,
    tried: tellTry,
    telemetry: queueTelemetry(),
    async close() {
      const gaveUp = new Promise<void>((resolve) => setTimeout(resolve, CLOSE_MS).unref())
      // What can't be sent now is lost; its exporter has said so.
      await Promise.race([sdk.shutdown().catch(() => undefined), gaveUp])
    },
  }
}

/** OpenTelemetry tells of an error as the JSON of all that it has. */
function messageIn(text: string): string {
  return /"message":"([^"]*)"/.exec(text)?.[1] ?? text
}

/** What belongs to a trace is sampled as that is. */
function createSampler(): Sampler {
  let [second, left] = [0, 0]
  const begins = () => {
    const now = Math.floor(performance.now() / 1_000)
    if (now !== second) [second, left] = [now, NEW_PER_SECOND]
    left -= 1
    return left >= 0
  }
  return {
    shouldSample(around) {
      const parent = trace.getSpanContext(around)
      const isWanted = parent && isSpanContextValid(parent) ? isSampled(parent) : begins()
      return { decision: isWanted ? SamplingDecision.RECORD_AND_SAMPLED : SamplingDecision.NOT_RECORD }
    },
    toString: () => `${NEW_PER_SECOND} new traces a second`,
  }
}

const tracer = trace.getTracer('byok-gateway')

const startRequest: Tracing['request'] = (method, traceparent) => {
  const span = tracer.startSpan(
    method,
    { kind: SpanKind.SERVER, attributes: { 'http.request.method': method } },
    after(traceparent),
  )
  return {
    traceId: span.spanContext().traceId,
    submit({ noun, id, trace: before }, store) {
      // What is sampled is decided once: nothing of what follows is looked at again.
      if (!span.isRecording()) return store(formatTraceparent(span.spanContext()))
      const links = linksTo(readTraceparent(before))
      const options = { kind: SpanKind.PRODUCER, links, attributes: { [`byok.${noun}.id`]: id } }
      const submit = tracer.startSpan(`submit ${noun}`, options, trace.setSpan(ROOT_CONTEXT, span))
      return during(submit, async () => {
        const result = await store(formatTraceparent(submit.spanContext()))
        submit.setAttribute('byok.submit.outcome', result.kind)
        // Another call's: it goes on in that one's trace.
        if (result.id !== undefined && result.id !== id) submit.setAttribute(`byok.${noun}.id`, result.id)
        return result
      })
    },
    end(route, status) {
      if (route !== undefined) {
        span.updateName(`${method} ${route}`)
        span.setAttribute('http.route', route)
      }
      if (status !== null) span.setAttribute('http.response.status_code', status)
      if (status === null || status >= 500) fail(span, status === null ? 'client_left' : String(status))
      span.end()
    },
  }
}

const runWork: Tracing['work'] = ({ noun, id, trace: kept }, run) => {
  const origin = readTraceparent(kept)
  if (noun === 'job' && origin && !isSampled(origin)) return run({ ...UNTOLD, traceId: origin.traceId })
  const entry = trace.getSpanContext(context.active())
  // A batch may have more lines than a backend keeps of one trace: each has a trace of its own.
  const isOwn = noun === 'line' || !origin
  const inEntry = !isOwn && entry?.traceId === origin.traceId
  const parent = isOwn
    ? ROOT_CONTEXT
    : inEntry
      ? context.active()
      : trace.setSpanContext(ROOT_CONTEXT, origin)
  const links = [...(isOwn ? linksTo(origin) : []), ...(inEntry ? [] : linksTo(entry))]
  const span = tracer.startSpan(
    noun,
    { kind: SpanKind.CONSUMER, links, attributes: { [`byok.${noun}.id`]: id } },
    parent,
  )
  const own = trace.setSpan(ROOT_CONTEXT, span)
  return during(span, async () => {
    const outcome = await run({
      traceId: span.spanContext().traceId,
      called(call) {
        if (!span.isRecording()) return
        const { name, facts } = genAiFacts(call)
        const { started_at: startedAt, ended_at: endedAt } = call.attempt
        tell(own, name, facts, { startMs: startedAt, endMs: endedAt ?? Date.now() })
      },
      waits(why, waitMs) {
        span.addEvent('wait', { 'byok.wait.reason': why, 'byok.wait.ms': Math.round(waitMs) })
      },
    })
    span.setAttributes(outcomeFacts(outcome))
    return outcome
  })
}

const runPiece: Tracing['piece'] = ({ batchId, chunk, trace: kept }, run) => {
  const attributes = { 'byok.batch.id': batchId, 'byok.batch.chunk': chunk }
  return during(tracer.startSpan('chunk', { kind: SpanKind.CONSUMER, attributes }, after(kept)), run)
}

function tellTry(ended: EndedTry): string | null {
  const origin = readTraceparent(ended.trace)
  if (origin && !isSampled(origin)) return origin.traceId
  const { type, number, deliveryId, startedMs, durationMs, statusCode, error } = ended
  const facts: SpanFacts = {
    'byok.delivery.id': deliveryId,
    'byok.delivery.number': number,
    'byok.event.type': type,
    'http.request.method': 'POST',
  }
  if (statusCode !== null) facts['http.response.status_code'] = statusCode
  if (error !== null) facts['error.type'] = error
  else if (statusCode !== null && statusCode >= 300) facts['error.type'] = String(statusCode)
  const times = { startMs: startedMs, endMs: startedMs + durationMs }
  return tell(after(ended.trace), `deliver ${type}`, facts, times)
}

/** A call to the outside that is over. @returns the id of its trace. */
function tell(
  parent: Context,
  name: string,
  attributes: SpanFacts,
  { startMs, endMs }: { startMs: number; endMs: number },
): string {
  const span = tracer.startSpan(name, { kind: SpanKind.CLIENT, attributes, startTime: startMs }, parent)
  if (attributes['error.type'] !== undefined) span.setStatus({ code: SpanStatusCode.ERROR })
  span.end(endMs)
  return span.spanContext().traceId
}

/** Runs something as the active span; that of BullMQ's spans beneath it. */
async function during<Result>(span: Span, run: () => Promise<Result>): Promise<Result> {
  try {
    return await context.with(trace.setSpan(ROOT_CONTEXT, span), run)
  } catch (error) {
    // By its class alone: the text of an error may be a client's.
    fail(span, error instanceof Error ? error.name : 'unknown')
    throw error
  } finally {
    span.end()
  }
}

function fail(span: Span, type: string): void {
  span.setAttribute('error.type', type)
  span.setStatus({ code: SpanStatusCode.ERROR })
}

function outcomeFacts(outcome: { kind: string; status?: unknown; why?: unknown }): SpanFacts {
  const detail = outcome.status ?? outcome.why
  return {
    'byok.outcome': outcome.kind,
    ...(typeof detail === 'string' ? { 'byok.outcome.detail': detail } : {}),
  }
}

function after(traceparent: string | undefined): Context {
  const origin = readTraceparent(traceparent)
  return origin ? trace.setSpanContext(ROOT_CONTEXT, origin) : ROOT_CONTEXT
}

function linksTo(other: SpanContext | null | undefined): Link[] {
  return other ? [{ context: other }] : []
}

function isSampled({ traceFlags }: SpanContext): boolean {
  return (traceFlags & TraceFlags.SAMPLED) !== 0
}

function formatTraceparent({ traceId, spanId, traceFlags }: SpanContext): string {
  return `00-${traceId}-${spanId}-0${traceFlags & TraceFlags.SAMPLED}`
}

function readTraceparent(text: string | undefined): SpanContext | null {
  const [, traceId = '', spanId = '', flags = ''] = TRACEPARENT.exec(text ?? '') ?? []
  const read = {
    traceId,
    spanId,
    traceFlags: Number.parseInt(flags, 16) & TraceFlags.SAMPLED,
    isRemote: true,
  }
  return isSpanContextValid(read) ? read : null
}

/** What entries of the queue carry: where the trace goes on, and nothing else that a caller sent. */
const PROPAGATOR: TextMapPropagator = {
  inject(from, carrier, setter) {
    const current = trace.getSpanContext(from)
    if (current && isSpanContextValid(current)) setter.set(carrier, 'traceparent', formatTraceparent(current))
  },
  extract(into, carrier, getter) {
    const text = getter.get(carrier, 'traceparent')
    const origin = readTraceparent(typeof text === 'string' ? text : undefined)
    return origin ? trace.setSpanContext(into, origin) : into
  },
  fields: () => ['traceparent'],
}
