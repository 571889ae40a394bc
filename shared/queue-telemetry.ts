import { context, ROOT_CONTEXT, trace, type Context } from '@opentelemetry/api'
import type { Telemetry } from 'bullmq'
import { BullMQOtel } from 'bullmq-otel'

// Of what BullMQ does with an entry, these tell something that our own spans do not.
const TOLD = /^(add|process) /

const UNTOLD = {
  // What it does is no part of the trace that it happens to be called in, nor are the entries that it adds.
  setSpanOnContext: () => ROOT_CONTEXT,
  setAttribute: () => undefined,
  setAttributes: () => undefined,
  addEvent: () => undefined,
  recordException: () => undefined,
  end: () => undefined,
}

/**
 * BullMQ's own spans, where an entry is added and where it is processed, as far as they are part of a request's trace. Its
 * chores (stalled entries, locks) would begin a trace each, and a bulk is of many requests: none of these is told.
 */
export function queueTelemetry(): Telemetry<Context> {
  const { tracer, contextManager } = new BullMQOtel({ tracerName: 'bullmq' })
  return {
    contextManager,
    tracer: {
      startSpan(name, options, around) {
        const isPart = trace.getSpanContext(around ?? context.active()) !== undefined
        return isPart && TOLD.test(name) ? tracer.startSpan(name, options, around) : UNTOLD
      },
    },
  }
}
