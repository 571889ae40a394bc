import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { ROUTES } from '../support/routes.ts'
import { ErrorClass } from '../../shared/schemas/error-class.ts'
import { PROVIDER_ROWS } from '../../shared/settings/provider-rows.ts'
import { batchesOf, inputLine, inputLines } from '../support/batches.ts'
import { eventually } from '../support/eventually.ts'
import { chunks, completion, failure } from '../support/provider.ts'
import { findPrometheus, startPrometheus } from '../support/prometheus.ts'
import { startReceiver, type TestReceiver } from '../support/receiver.ts'
import { ask, ownConfig } from '../support/requests.ts'
import { metricsUrl, scrape, type Scrape } from '../support/scrape.ts'
import { gateway, provider, useGateway } from '../support/stage.ts'

/** In everything that a client sends. */
const CANARY = 'canary5c1f'
const KEY = `sk-${CANARY}`

const DASHBOARDS = new URL('../../dashboards/', import.meta.url)

let receiver: TestReceiver
/** What the API and the worker said after all calls below. */
let api: Scrape
let worker: Scrape

useGateway({ env: { GATEWAY_METRICS_PORT: '0' } })

beforeAll(async () => {
  receiver = await startReceiver()
  await callAll()
  const [worked] = gateway.workers
  if (!worked) throw new Error('There is no worker.')
  await eventually('the worker has counted what was settled', async () => {
    const seen = await scrape(worked)
    return seen.value('byok_jobs_ended_total') === 6 && seen.value('byok_webhook_tries_total') === 1
  })
  ;[api, worker] = await Promise.all([scrape(gateway.api), scrape(worked)])
})

afterAll(() => receiver?.close())

const config = (key = KEY) =>
  ownConfig({ url: provider.url, key, group: CANARY, rpm: 1_000 }, { num_retries: 0 })
const body = (key?: string) => ask(config(key), `Say ${CANARY}`, CANARY)

/** Two sync calls, a stream, a job with a webhook, one that fails, one whose key is refused, one for later, two lines. */
async function callAll() {
  provider.answer(({ key, body: { stream } }) => {
    if (key === `${KEY}-bad`) return failure(400, CANARY)
    if (key === `${KEY}-dead`) return failure(401, CANARY)
    return stream ? chunks(CANARY) : completion(CANARY)
  })
  const tenant = `tenant-${CANARY}`
  const key = await gateway.tenantKey(tenant)
  const complete = (extra: object) =>
    gateway.call('POST', '/v1/chat/completions', { key, body: { ...body(), user: CANARY, ...extra } })
  await complete({})
  await complete({ metadata: { name: CANARY } })
  await complete({ stream: true })
  const webhook = { url: `${receiver.url}/${CANARY}` }
  const told = await gateway.submit(
    body(),
    { webhook, priority: 'high', metadata: { [CANARY]: CANARY } },
    key,
  )
  const failing = [`${KEY}-bad`, `${KEY}-dead`].map((bad) => gateway.submit(body(bad), {}, key))
  const jobs = [told, ...(await Promise.all(failing))]
  await Promise.all(jobs.map(({ id }) => gateway.ended(id, { key })))
  await gateway.submit(body(), { delay: 3_600 }, key)
  const batches = batchesOf(gateway, key)
  const { id } = await batches.start(
    inputLines(2, CANARY, (name) => inputLine(name, {}, { model: CANARY })),
    { user_config: config() },
  )
  await batches.ended(id)
  await gateway.call('GET', `/v1/${CANARY}`, { key })
}

const counted = (seen: Scrape, name: string, labels?: Record<string, string>) =>
  seen.value(`byok_${name}`, labels)

test('what was called, submitted and ended is counted once, with its outcome', () => {
  const route = { route: '/chat/completions', method: 'POST' }
  expect(counted(api, 'http_requests_total', { ...route, status: '2xx' })).toBe(3)
  expect(counted(api, 'http_request_duration_seconds_count', route)).toBe(3)
  expect(counted(api, 'http_requests_total', { route: 'unknown', status: '4xx' })).toBe(1)
  expect(counted(api, 'jobs_submitted_total', { mode: 'sync' })).toBe(3)
  expect(counted(api, 'jobs_submitted_total', { mode: 'async', class: 'high' })).toBe(1)
  expect(counted(api, 'jobs_submitted_total', { mode: 'async', class: 'normal' })).toBe(3)
  expect(counted(worker, 'jobs_ended_total', { mode: 'sync', status: 'completed' })).toBe(3)
  expect(counted(worker, 'jobs_ended_total', { class: 'high', status: 'completed' })).toBe(1)
  expect(counted(worker, 'jobs_ended_total', { status: 'failed' })).toBe(2)
  expect(counted(worker, 'jobs_ended_total')).toBe(6)
  expect(counted(worker, 'batch_lines_ended_total', { status: 'completed' })).toBe(2)
  const attempts = (outcome: string) => counted(worker, 'attempts_total', { provider: 'openai', outcome })
  expect([attempts('completed'), attempts('bad_request'), attempts('authentication')]).toEqual([6, 1, 1])
  expect(counted(worker, 'attempt_duration_seconds_count', { provider: 'openai' })).toBe(8)
  expect(counted(worker, 'first_token_seconds_count', { provider: 'openai' })).toBe(1)
  expect(counted(worker, 'cooldowns_begun_total')).toBe(1)
  expect(counted(worker, 'limit_used_share_count', { limit: 'rpm' })).toBeGreaterThan(0)
  expect(counted(worker, 'webhook_tries_total', { state: 'delivered' })).toBe(1)
  expect(counted(worker, 'webhook_lag_seconds_count')).toBe(1)
})

test('what waits, and how Redis is, is shown by the API; slots and its event loop by each worker', () => {
  expect(api.value('byok_queue_depth', { kind: 'jobs', state: 'parked' })).toBe(1)
  expect(api.value('byok_queue_depth', { kind: 'jobs', state: 'waiting' })).toBe(0)
  expect(api.value('byok_workers')).toBe(1)
  expect(api.value('byok_workers_slots')).toBe(50)
  expect(api.value('byok_progress_age_seconds')).toBe(0)
  expect(api.value('byok_accepts_submits')).toBe(1)
  expect(api.value('byok_redis_memory_bytes')).toBeGreaterThan(100_000)
  expect(worker.value('byok_slots')).toBe(50)
  expect(worker.value('byok_slots_used')).toBe(0)
  for (const seen of [api, worker]) {
    expect(seen.value('byok_redis_up')).toBe(1)
    expect(seen.value('byok_redis_round_trip_seconds_count')).toBeGreaterThan(0)
    expect(seen.value('byok_sealed_bytes_total')).toBeGreaterThan(100)
    expect(seen.value('nodejs_eventloop_lag_p99_seconds')).toBeGreaterThan(0)
    expect(seen.value('process_resident_memory_bytes')).toBeGreaterThan(10_000_000)
    expect(seen.value('byok_build_info')).toBe(1)
  }
})

test('nothing of a client is in them, and what a label can be is known beforehand', () => {
  const routes = Object.keys(ROUTES).map((name) => name.replace(/^\S+ (\/v1)?/, ''))
  const known: Record<string, (value: string) => boolean> = {
    // Fastify writes `:id` where the documents have `{id}`.
    route: (value) =>
      ['unknown', '/healthz', '/readyz'].includes(value) ||
      routes.includes(value.replaceAll(/:(\w+)/g, '{$1}')),
    method: (value) => ['GET', 'HEAD', 'POST', 'DELETE', 'any'].includes(value),
    outcome: (value) => ['completed', 'aborted', ...ErrorClass.options].includes(value),
    provider: (value) => ['mock', 'other', ...PROVIDER_ROWS.map(({ name }) => name)].includes(value),
  }
  for (const { text, labels } of [api, worker]) {
    // A number that is counted may happen to hold the digits of a port.
    const withoutValues = text.replaceAll(/ [\d.e+-]+$/gm, '')
    for (const secret of [
      CANARY,
      gateway.masterKey,
      gateway.env.GATEWAY_ID_SECRET,
      gateway.prefix,
      String(provider.port),
    ]) {
      expect(withoutValues).not.toContain(secret)
    }
    for (const [label, isKnown] of Object.entries(known)) {
      expect([...(labels.get(label) ?? [])].filter((value) => !isKnown(value))).toEqual([])
    }
  }
  expect([...api.labels.keys(), ...worker.labels.keys()].filter((name) => !LABELS.has(name))).toEqual([])
})

test('the port shows metrics and nothing else', async () => {
  const url = metricsUrl(gateway.api)
  const [other, posted] = await Promise.all([
    fetch(new URL('/v1/jobs', url)),
    fetch(url, { method: 'POST', body: 'x' }),
  ])
  expect([other.status, posted.status]).toEqual([404, 404])
  expect((await gateway.call('GET', '/metrics')).status).toBe(404)
})

const named = (text = '') => new Set(text.match(/\b(byok|nodejs|process)_\w+/g))

test('each metric that the dashboard and the alerts name is there, and each that is there is in the docs', async () => {
  const [dashboard, alerts] = await Promise.all(
    ['grafana.json', 'alerts.yaml'].map((file) => readFile(new URL(file, DASHBOARDS), 'utf8')),
  )
  expect(named(dashboard).size).toBeGreaterThan(30)
  expect(named(alerts).size).toBeGreaterThan(12)
  const there = new Set([...api.names, ...worker.names])
  expect([...named(dashboard), ...named(alerts)].filter((name) => !there.has(name))).toEqual([])
  const page = await readFile(new URL('../docs/operations.md', DASHBOARDS), 'utf8')
  const own = [...`${api.text}${worker.text}`.matchAll(/^# TYPE (byok_\w+)/gm)].map(([, name = '']) => name)
  expect(own.filter((name) => !page.includes(`\`${name}\``))).toEqual([])
})

test('workers that live and do nothing raise the alert, in a Prometheus that scrapes them', async (context) => {
  const path = await findPrometheus('prometheus')
  if (!path) {
    context.skip('prometheus is neither on the PATH nor named by TEST_PROMETHEUS')
    return
  }
  const rules = await readFile(new URL('alerts.yaml', DASHBOARDS), 'utf8')
  const prometheus = await startPrometheus(path, {
    folder: join(inject('runFolder'), 'prometheus'),
    targets: [gateway.api, ...gateway.workers].map((one) => new URL(metricsUrl(one)).host),
    // The same, in a hurry.
    rules: rules
      .replaceAll(/for: \d+[sm]/g, 'for: 0s')
      .replace('(byok_progress_age_seconds) > 30', '(byok_progress_age_seconds) > 1'),
  })
  const raised = async (name: string) =>
    (await prometheus.alerts()).find(({ labels, state }) => labels.alertname === name && state === 'firing')
  try {
    expect(await raised('NoProgress')).toBeUndefined()
    for (const one of gateway.workers) one.kill('SIGSTOP')
    await gateway.submit(body())
    const alert = await eventually('the alert fires', () => raised('NoProgress'))
    expect(alert.labels.severity).toBe('critical')
    expect(alert.annotations.description).toMatch(/^For \d+(\.\d+)?s nothing ended/)
    for (const one of gateway.workers) one.kill('SIGCONT')
    await eventually('it is over', async () => !(await raised('NoProgress')))
  } finally {
    for (const one of gateway.workers) one.kill('SIGCONT')
    await prometheus.stop()
  }
})

/** All that there are. */
const LABELS = new Set([
  'route', 'method', 'status', 'class', 'mode', 'as', 'kind', 'state', 'what', 'step', 'provider', 'outcome', 'reason',
  'limit', 'le', 'version', 'node', 'process',
  // Of Node's own.
  'major', 'minor', 'patch', 'space', 'type',
]) // oxfmt-ignore
