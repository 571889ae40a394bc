import { afterAll, beforeAll, expect, test } from 'vitest'
import { createLog } from '../../shared/log.ts'
import { isTraced, NO_TRACING, openTracing, type Tracing } from '../../shared/tracing.ts'
import { startTraceCollector, type TraceCollector } from '../support/trace-collector.ts'

const CALLER = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
const log = createLog('silent', 'test')

let collector: TraceCollector
let tracing: Tracing

beforeAll(async () => {
  collector = await startTraceCollector()
  // OpenTelemetry reads the environment itself.
  Object.assign(process.env, collector.env)
  tracing = await openTracing(process.env, 'api', log)
})

afterAll(async () => {
  await collector?.close()
  for (const name of Object.keys(collector?.env ?? {})) delete process.env[name]
})

const spans = (name: string) => collector.spans.filter((span) => span.name === name)

test.each([
  [{}, false],
  [{ OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:4318' }, true],
  [{ OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: 'http://127.0.0.1:4318/v1/traces' }, true],
  [{ OTEL_TRACES_EXPORTER: 'console' }, true],
  [{ OTEL_TRACES_EXPORTER: 'none', OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:4318' }, false],
  [{ OTEL_SDK_DISABLED: 'true', OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:4318' }, false],
  [{ OTEL_SERVICE_NAME: 'gateway', OTEL_EXPORTER_OTLP_ENDPOINT: '' }, false],
])('with %o is it traced: %s', async (environment, isOn) => {
  expect(isTraced(environment)).toBe(isOn)
  if (!isOn) expect(await openTracing(environment, 'api', log)).toBe(NO_TRACING)
})

test('a busy process begins so many traces a second, follows those of its callers, and decides once for all of a job', async () => {
  const kept: string[] = []
  const startedAt = performance.now()
  for (let count = 0; count < 400; count += 1) {
    const request = tracing.request('POST', count % 40 === 0 ? CALLER : undefined)
    await request?.submit({ noun: 'job', id: `job_${count}` }, (trace) => {
      kept.push(trace)
      return Promise.resolve({ kind: 'created' })
    })
    request?.end('/v1/jobs', 202)
  }
  const secondsMax = Math.ceil((performance.now() - startedAt) / 1_000) + 1
  const outcomes = await Promise.all(
    kept.map((trace, count) =>
      tracing.work({ noun: 'job', id: `job_${count}`, trace }, ({ traceId }) =>
        Promise.resolve({ kind: 'settled', isOwn: trace.includes(String(traceId)) }),
      ),
    ),
  )
  expect(outcomes.filter(({ isOwn }) => isOwn)).toHaveLength(400)
  await tracing.close()

  const begun = spans('POST /v1/jobs').filter(({ parentSpanId = '' }) => parentSpanId === '')
  expect(begun.length).toBeGreaterThanOrEqual(50)
  expect(begun.length).toBeLessThanOrEqual(secondsMax * 50)
  expect(spans('POST /v1/jobs')).toHaveLength(begun.length + 10)
  // Of what is not told, nothing is.
  expect(spans('submit job')).toHaveLength(begun.length + 10)
  expect(spans('job')).toHaveLength(begun.length + 10)
  expect(kept.filter((trace) => trace.endsWith('-01'))).toHaveLength(begun.length + 10)
})
