import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { batchesOf, inputLines } from '../support/batches.ts'
import { eventually } from '../support/eventually.ts'
import { startGateway, type Gateway } from '../support/gateway.ts'
import { chunks, completion, failure, inTurn, startProvider, type TestProvider } from '../support/provider.ts'
import { startReceiver, type TestReceiver } from '../support/receiver.ts'
import { ask, ownConfig } from '../support/requests.ts'
import { startTraceCollector, type ExportedSpan, type TraceCollector } from '../support/trace-collector.ts'

const CALLER = { traceId: '0af7651916cd43dd8448eb211c80319c', spanId: 'b7ad6b7169203331' }
const TRACEPARENT = `00-${CALLER.traceId}-${CALLER.spanId}-01`

/** What nobody may read in a trace or a log. */
const CANARIES = {
  key: 'sk-canary-key-0001',
  prompt: 'canary-prompt-0002',
  answer: 'canary-answer-0003',
  customer: 'canary-customer-0004',
  tenant: 'canary-tenant-0005',
  secret: `whsec_${Buffer.from('canary-secret-0006-xxxxxx').toString('base64')}`,
  metadata: 'canary-metadata-0007',
  path: 'canary-path-0008',
  error: 'canary-error-0009',
}

let collector: TraceCollector
let provider: TestProvider
let receiver: TestReceiver
let gateway: Gateway

beforeAll(async () => {
  ;[collector, provider, receiver] = await Promise.all([
    startTraceCollector(),
    startProvider(),
    startReceiver(),
  ])
  gateway = await startGateway({
    env: {
      ...collector.env,
      GATEWAY_RETRY_INITIAL_MS: '20',
      // Enough slots that jobs which come together share an entry of the queue.
      WORKER_CONCURRENCY: '200',
      GATEWAY_WEBHOOK_SCHEDULE_S: '0,0.1,0.1',
    },
  })
})

afterAll(async () => {
  await gateway?.stop()
  await Promise.all([collector?.close(), provider?.close(), receiver?.close()])
})

/** Spans of a trace, once so many of them are there that this is true. */
function spansOf(traceId: string, isWhole: (spans: ExportedSpan[]) => boolean): Promise<ExportedSpan[]> {
  return eventually('the trace is exported', () => {
    const spans = collector.spans.filter((span) => span.traceId === traceId)
    return isWhole(spans) ? spans : null
  })
}

function named(spans: readonly ExportedSpan[], name: string): ExportedSpan[] {
  return spans
    .filter((span) => span.name === name)
    .toSorted((a, b) => Number(a.startTimeUnixNano - b.startTimeUnixNano))
}

function parentsOf(spans: readonly ExportedSpan[], name: string): (string | undefined)[] {
  const byId = new Map(spans.map((span) => [span.spanId, span.name]))
  return named(spans, name).map(({ parentSpanId = '' }) => byId.get(parentSpanId) ?? parentSpanId)
}

/** So many lines of the log with this text, about something. */
function linesOf(count: number, text: string, about: Record<string, unknown>) {
  return eventually(`${count} lines are written`, () => {
    const lines = gateway
      .logs()
      .split('\n')
      .filter((line) => line.startsWith('{') && line.endsWith('}'))
      .map((line) => JSON.parse(line) as Record<string, unknown>)
    const found = lines.filter(
      (line) => line['msg'] === text && Object.entries(about).every(([name, value]) => line[name] === value),
    )
    return found.length >= count ? found : null
  })
}

describe('a job that waits, is tried again and is told of', () => {
  let jobId: string
  let spans: ExportedSpan[]

  beforeAll(async () => {
    const told = { ...completion(CANARIES.answer), headers: { traceparent: TRACEPARENT } }
    const busy = failure(429, 'rate_limit_exceeded', { 'retry-after': '2' })
    const broken = { ...failure(500, 'broken'), body: { error: { message: CANARIES.error } } }
    provider.answer(inTurn(busy, broken, told))
    receiver.answer(({ number }) => (number === 1 ? 503 : 200))
    const key = await gateway.tenantKey(CANARIES.tenant)
    const config = ownConfig(
      { url: provider.url, key: CANARIES.key },
      { num_retries: 3, disable_cooldowns: true },
    )
    const webhook = { url: `${receiver.url}/${CANARIES.path}`, secret: CANARIES.secret }
    const answer = await gateway.call('POST', `/v1/jobs?${CANARIES.path}`, {
      key,
      headers: { traceparent: TRACEPARENT, 'x-litellm-customer-id': CANARIES.customer },
      body: {
        endpoint: '/v1/chat/completions',
        body: ask(config, CANARIES.prompt),
        webhook,
        metadata: { mark: CANARIES.metadata },
      },
    })
    jobId = (answer.json as { id: string }).id
    await gateway.ended(jobId, { key })
    await eventually('the webhook is told twice', () => receiver.received.length >= 2)
    spans = await spansOf(CALLER.traceId, (all) => named(all, 'deliver job.completed').length === 2)
  })

  test('is one trace from its caller by way of the queue and the worker to provider and webhook', () => {
    expect(named(spans, 'POST /v1/jobs').map(({ parentSpanId }) => parentSpanId)).toEqual([CALLER.spanId])
    expect(parentsOf(spans, 'submit job')).toEqual(['POST /v1/jobs'])
    // Its first claim is in the entry that the submit made, its second in one that was made for whoever was due.
    expect(parentsOf(spans, 'process jobs')).toEqual([expect.stringMatching(/^add jobs/)])
    expect(parentsOf(spans, 'job')[1]).toBe('submit job')
    expect(['process jobs', 'submit job']).toContain(parentsOf(spans, 'job')[0])
    expect(parentsOf(spans, 'chat gpt-test')).toEqual(['job', 'job', 'job'])
    expect(parentsOf(spans, 'deliver job.completed')).toEqual(['submit job', 'submit job'])
    const processes = spans.map(({ process, name }) => [name, process])
    expect(Object.fromEntries(processes)).toMatchObject({ 'submit job': 'api', job: 'worker' })
  })

  test('says of each call what it was, and why it had to wait for it', () => {
    const calls = named(spans, 'chat gpt-test')
    expect(calls.map(({ attributes }) => attributes['error.type'])).toEqual([
      'rate_limit',
      'internal_server',
      undefined,
    ])
    expect(calls.at(-1)?.attributes).toEqual({
      'gen_ai.operation.name': 'chat',
      'gen_ai.provider.name': 'openai',
      'gen_ai.request.model': 'gpt-test',
      'gen_ai.response.id': 'chatcmpl-test',
      'gen_ai.response.model': 'test-model',
      'gen_ai.response.finish_reasons': ['stop'],
      'gen_ai.usage.input_tokens': 7,
      'gen_ai.usage.output_tokens': 5,
      'gen_ai.usage.cache_read.input_tokens': 0,
      'http.response.status_code': 200,
      'byok.attempt.number': 3,
      'byok.attempt.possibly_billed': false,
      'byok.deployment.id': expect.any(String),
    })
    const [first, second] = named(spans, 'job')
    expect(first?.events).toMatchObject([{ name: 'wait', attributes: { 'byok.wait.reason': 'cooldown' } }])
    expect(first?.attributes).toMatchObject({ 'byok.job.id': jobId, 'byok.outcome': 'snoozed' })
    expect(second?.attributes).toMatchObject({
      'byok.outcome': 'settled',
      'byok.outcome.detail': 'completed',
    })
  })

  test('tells neither provider nor receiver of the trace', () => {
    const heads = [...provider.ledger, ...receiver.received].map(({ headers }) => Object.keys(headers))
    expect(heads.length).toBe(5)
    expect(heads.flat().filter((name) => /trace|baggage|b3/.test(name))).toEqual([])
  })

  test('has one line in the log for each call and each delivery, in the same trace', async () => {
    const calls = await linesOf(3, 'A provider was called', { job_id: jobId })
    expect(calls.map(({ attempt, status, waited }) => [attempt, status, waited])).toEqual([
      [1, 429, undefined],
      [2, 500, 'cooldown'],
      [3, 200, 'backoff'],
    ])
    expect(calls[2]).toMatchObject({
      provider: 'openai',
      model: 'gpt-test',
      outcome: 'completed',
      ms: expect.any(Number),
      input_tokens: 7,
      output_tokens: 5,
      possibly_billed: false,
      trace_id: CALLER.traceId,
    })
    const tries = await linesOf(2, 'A webhook was tried', { subject_id: jobId })
    expect(tries).toMatchObject([
      { try: 1, status: 503, state: 'pending', next_at: expect.stringMatching(/Z$/) },
      { try: 2, status: 200, state: 'delivered', event_type: 'job.completed' },
    ])
    expect(tries.map(({ trace_id: traceId }) => traceId)).toEqual([CALLER.traceId, CALLER.traceId])
  })

  test('leaves no key, prompt, answer, tenant, customer or address in traces and logs', () => {
    const told = `${collector.text()}\n${gateway.logs()}`
    expect(told).toContain(jobId)
    const leaked = Object.entries(CANARIES).filter(([, value]) => told.includes(value))
    expect(leaked).toEqual([])
    expect(told).not.toContain(provider.url)
    expect(told).not.toContain(receiver.url)
    expect(told).not.toContain(gateway.masterKey)
  })
})

test('a call that is streamed to its caller is traced, with the time to its first piece', async () => {
  provider.answer(() => chunks('in', 'pieces'))
  const config = ownConfig({ url: provider.url, key: 'sk-streamed' })
  const answer = await gateway.call('POST', '/v1/chat/completions', {
    body: { ...ask(config), stream: true },
  })
  expect(answer.status).toBe(200)
  const [line] = await linesOf(1, 'A provider was called', { job_id: answer.headers.get('x-job-id') })
  expect(line).toMatchObject({ first_token_ms: expect.any(Number), output_tokens: 5 })
  const names = ['POST /v1/chat/completions', 'job']
  const spans = await spansOf(String(line?.['trace_id']), (all) =>
    names.every((name) => named(all, name).length === 1),
  )
  expect(parentsOf(spans, 'submit job')).toEqual(['POST /v1/chat/completions'])
  expect(named(spans, 'chat gpt-test')[0]?.attributes).toMatchObject({
    'gen_ai.request.stream': true,
    'gen_ai.response.time_to_first_chunk': expect.any(Number),
  })
})

test('jobs that share an entry of the queue stay in their own traces', async () => {
  provider.answer(() => completion('ok'))
  const config = ownConfig({ url: provider.url, key: 'sk-together' })
  const traceIds = Array.from({ length: 24 }, (_, number) => number.toString(16).padStart(32, 'a'))
  const answers = await Promise.all(
    traceIds.map((traceId) =>
      gateway.call('POST', '/v1/chat/completions', {
        headers: { traceparent: `00-${traceId}-${CALLER.spanId}-01` },
        body: ask(config),
      }),
    ),
  )
  const traces = await Promise.all(
    traceIds.map((id) =>
      spansOf(id, (all) => named(all, 'job').length === 1 && named(all, 'submit job').length === 1),
    ),
  )
  for (const [at, spans] of traces.entries()) {
    const [job] = named(spans, 'job')
    expect(job?.attributes['byok.job.id']).toBe(answers[at]?.headers.get('x-job-id'))
    expect(parentsOf(spans, 'chat gpt-test')).toEqual(['job'])
    expect(['process jobs', 'submit job']).toContain(parentsOf(spans, 'job')[0])
  }
  // Where another's entry brought a job, a link says so.
  const entries = new Set(
    collector.spans.filter(({ name }) => name === 'process jobs').map(({ spanId }) => spanId),
  )
  const links = traces.flatMap((spans) => named(spans, 'job').flatMap((job) => job.links))
  expect(links.filter(({ spanId }) => !entries.has(spanId))).toEqual([])
})

test('a job that is run again has a trace of its own that leads to the old one', async () => {
  provider.answer(() => failure(400, 'bad_request'))
  const config = ownConfig({ url: provider.url, key: 'sk-again' })
  const { id } = await gateway.submit(ask(config))
  await gateway.ended(id)
  const answer = await gateway.call('POST', `/v1/jobs/${id}/retry`, { body: { user_config: config } })
  const again = (answer.json as { id: string }).id
  const [old, fresh] = await Promise.all(
    [id, again].map((job) =>
      eventually('its submit is exported', () =>
        collector.spans.find(
          ({ name, attributes }) => name === 'submit job' && attributes['byok.job.id'] === job,
        ),
      ),
    ),
  )
  expect(fresh?.traceId).not.toBe(old?.traceId)
  expect(fresh?.links).toMatchObject([{ traceId: old?.traceId, spanId: old?.spanId }])
})

test('a batch goes on in its trace, and each of its lines has one of its own that leads there', async () => {
  provider.answer(() => completion('ok'))
  const { start, ended } = batchesOf(gateway)
  const config = ownConfig({ url: provider.url, key: 'sk-batch' })
  const batch = await start(inputLines(2), { user_config: config })
  expect((await ended(batch.id)).status).toBe('completed')
  const submit = await eventually('its submit is exported', () =>
    collector.spans.find(
      ({ name, attributes }) => name === 'submit batch' && attributes['byok.batch.id'] === batch.id,
    ),
  )
  const lines = await eventually('its lines are exported', () => {
    const own = collector.spans.filter(({ links }) => links[0]?.spanId === submit.spanId)
    return own.length === 2 ? own : null
  })
  expect(lines.map(({ name }) => name)).toEqual(['line', 'line'])
  const spans = await spansOf(submit.traceId, (all) => named(all, 'chunk').length === 3)
  expect(parentsOf(spans, 'chunk')).toEqual(['submit batch', 'submit batch', 'submit batch'])
  const calls = collector.spans.filter(({ parentSpanId }) =>
    lines.some(({ spanId }) => spanId === parentSpanId),
  )
  expect(calls.map(({ name }) => name)).toEqual(['chat gpt-test', 'chat gpt-test'])
})

test('what is in no trace of a request begins none: neither chores of the queues nor health checks', async () => {
  await gateway.call('GET', '/healthz')
  const roots = collector.spans.filter(({ parentSpanId = '' }) => parentSpanId === '')
  const names = new Set(roots.map(({ name }) => name.replace(/ .*/, '')))
  expect([...names].toSorted()).toEqual(['GET', 'POST', 'line'])
  expect(roots.filter(({ name }) => /healthz|readyz/.test(name))).toEqual([])
})
