import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, inject, test } from 'vitest'
import { parse, stringify } from 'yaml'
import { z } from 'zod'
import { findPrometheus, runProgram } from './support/prometheus.ts'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const RULES = join(ROOT, 'dashboards/alerts.yaml')

const Rule = z.object({
  alert: z.string(),
  expr: z.string(),
  labels: z.object({ severity: z.enum(['critical', 'warning']) }),
  annotations: z.object({ summary: z.string(), description: z.string(), runbook: z.string() }),
})
const rules = z
  .object({ groups: z.array(z.object({ rules: z.array(Rule) })) })
  .parse(parse(await readFile(RULES, 'utf8')))
  .groups.flatMap((group) => group.rules)

/** Series as promtool writes them: `first+step x times`, a sample every 15 s. */
type Series = Record<string, string>
const scraped = 'job="byok-gateway",instance="one"'
const buckets = (metric: string, low: string, quick: string, slow: string): Series => ({
  [`${metric}_bucket{le="${low}"}`]: quick,
  [`${metric}_bucket{le="300"}`]: slow,
  [`${metric}_bucket{le="+Inf"}`]: slow,
})
const attempts = (outcome: string) => `byok_attempts_total{provider="openai",outcome="${outcome}"}`

/** For each alert what makes it fire, when it is asked, what it is labelled with; and what must not. */
const CASES: Record<string, { fires: Series; at: string; labels?: object; quiet: Series }> = {
  NoProgress: {
    fires: { byok_progress_age_seconds: '0+15x20' },
    at: '2m',
    quiet: { byok_progress_age_seconds: '0 15 30 0 15 0 15 30 0x20' },
  },
  WorkersGone: { fires: { byok_workers: '2x4 0x12' }, at: '3m', quiet: { byok_workers: '2x20' } },
  WorkerGone: { fires: { byok_workers: '3x10 2x20' }, at: '6m', quiet: { byok_workers: '2x10 3x20' } },
  ProcessDown: {
    fires: { [`up{${scraped}}`]: '1x4 0x12' },
    at: '3m',
    labels: { job: 'byok-gateway', instance: 'one' },
    quiet: { [`up{${scraped}}`]: '1x20', 'up{job="other",instance="two"}': '0x20' },
  },
  QueueRenewed: {
    fires: { [`byok_queues_renewed_total{${scraped}}`]: '0x8 1x12' },
    at: '4m',
    labels: { instance: 'one' },
    quiet: { [`byok_queues_renewed_total{${scraped}}`]: '3x20' },
  },
  OldestWaiting: {
    fires: { 'byok_oldest_waiting_seconds{class="normal"}': '0+15x60' },
    at: '12m',
    labels: { class: 'normal' },
    quiet: { 'byok_oldest_waiting_seconds{class="low"}': '0+15x60' },
  },
  QueueBacklog: {
    fires: {
      'byok_queue_depth{kind="jobs",state="waiting"}': '5000x100',
      byok_jobs_ended_total: '0+15x100',
    },
    at: '22m',
    quiet: {
      'byok_queue_depth{kind="jobs",state="waiting"}': '5000x100',
      byok_jobs_ended_total: '0+150x100',
    },
  },
  Overdue: {
    fires: { 'byok_overdue_seconds{what="window"}': '0+15x40' },
    at: '4m',
    labels: { what: 'window' },
    quiet: { 'byok_overdue_seconds{what="window"}': '1x40' },
  },
  RedisDown: {
    fires: { [`byok_redis_up{${scraped}}`]: '1x4 0x12' },
    at: '3m',
    labels: { job: 'byok-gateway', instance: 'one' },
    quiet: { [`byok_redis_up{${scraped}}`]: '1x20' },
  },
  RedisSlow: {
    fires: buckets('byok_redis_round_trip_seconds', '0.025', '0x80', '0+10x80'),
    at: '16m',
    quiet: buckets('byok_redis_round_trip_seconds', '0.025', '0+10x80', '0+10x80'),
  },
  RedisMemoryHigh: {
    fires: { byok_redis_memory_bytes: '70x40', byok_redis_memory_max_bytes: '100x40' },
    at: '6m',
    quiet: { byok_redis_memory_bytes: '60x40', byok_redis_memory_max_bytes: '100x40' },
  },
  SubmitsRefused: {
    fires: { byok_accepts_submits: '1x2 0x10' },
    at: '2m',
    quiet: { byok_accepts_submits: '1x20' },
  },
  RedisCannotSave: {
    fires: { 'byok_redis_persistence_ok{step="aof_write"}': '1x2 0x20' },
    at: '3m',
    labels: { step: 'aof_write' },
    quiet: { 'byok_redis_persistence_ok{step="aof_write"}': '1x20' },
  },
  AttemptsFailing: {
    fires: { [attempts('service_unavailable')]: '0+15x60', [attempts('completed')]: '0+5x60' },
    at: '11m',
    labels: { provider: 'openai' },
    quiet: {
      [attempts('service_unavailable')]: '0+5x60',
      [attempts('completed')]: '0+6x60',
      [attempts('aborted')]: '0+90x60',
    },
  },
  CooldownsAll: {
    fires: { 'byok_deployment_waits_total{reason="cooldown"}': '0+1x60', [attempts('completed')]: '7x60' },
    at: '11m',
    quiet: {
      'byok_deployment_waits_total{reason="cooldown"}': '0+1x60',
      [attempts('completed')]: '0+1x60',
    },
  },
  WebhookLag: {
    fires: buckets('byok_webhook_lag_seconds', '60', '0x80', '0+5x80'),
    at: '16m',
    quiet: buckets('byok_webhook_lag_seconds', '60', '0+5x80', '0+5x80'),
  },
  WebhooksFailing: {
    fires: {
      'byok_webhook_tries_total{state="pending"}': '0+5x150',
      'byok_webhook_tries_total{state="delivered"}': '0+1x150',
    },
    at: '33m',
    quiet: {
      'byok_webhook_tries_total{state="pending"}': '0+1x150',
      'byok_webhook_tries_total{state="delivered"}': '0+5x150',
    },
  },
  EventLoopBlocked: {
    fires: { [`nodejs_eventloop_lag_p99_seconds{${scraped}}`]: '0.01x4 0.6x20' },
    at: '5m',
    labels: { job: 'byok-gateway', instance: 'one' },
    quiet: { [`nodejs_eventloop_lag_p99_seconds{${scraped}}`]: '0.02x40' },
  },
}

test('each alert has a case here, and a section in the operations page', async () => {
  const page = await readFile(join(ROOT, 'docs/operations.md'), 'utf8')
  const headings = new Set([...page.matchAll(/^#+ (.*)$/gm)].map(([, text = '']) => text.toLowerCase()))
  expect(rules.map(({ alert }) => alert).toSorted()).toEqual(Object.keys(CASES).toSorted())
  for (const { alert, annotations } of rules) {
    expect(annotations.runbook).toBe(`docs/operations.md#${alert.toLowerCase()}`)
    expect(headings).toContain(alert.toLowerCase())
  }
})

test('each alert fires when it should, and not beside it, by Prometheus’ own judgement', async (context) => {
  const promtool = await findPrometheus('promtool')
  if (!promtool) {
    context.skip('promtool is neither on the PATH nor beside TEST_PROMETHEUS')
    return
  }
  const folder = join(inject('runFolder'), 'alerts')
  await mkdir(folder, { recursive: true })
  // What an alert says of its value is not what this is about.
  const silent = parse(await readFile(RULES, 'utf8'), (key, value: unknown) =>
    key === 'annotations' ? undefined : value,
  ) as unknown
  await writeFile(join(folder, 'rules.yaml'), stringify(silent))
  const played = rules.flatMap(({ alert, labels: { severity } }) => {
    const { fires, at, labels, quiet } = CASES[alert] ?? { fires: {}, at: '1m', quiet: {} }
    const firing = [{ exp_labels: { severity, ...labels } }]
    return [
      { alert, series: fires, at, expected: firing },
      { alert, series: quiet, at, expected: [] },
    ]
  })
  const tests = together(played)
  await writeFile(
    join(folder, 'tests.yaml'),
    stringify({ rule_files: ['rules.yaml'], evaluation_interval: '15s', tests }),
  )
  // With the rules, which it names.
  const example = join(ROOT, 'docs/prometheus.yml')
  expect(await runProgram(promtool, ['check', 'config', example])).toMatchObject({ code: 0 })
  expect(await runProgram(promtool, ['test', 'rules', join(folder, 'tests.yaml')])).toMatchObject({ code: 0 })
})

test('Prometheus understands what each panel of the dashboard asks', async (context) => {
  const promtool = await findPrometheus('promtool')
  if (!promtool) {
    context.skip('promtool is neither on the PATH nor beside TEST_PROMETHEUS')
    return
  }
  const panels = Panels.parse(
    JSON.parse(await readFile(join(ROOT, 'dashboards/grafana.json'), 'utf8')),
  ).panels
  const asked = panels.flatMap(({ targets }) => targets.map(({ expr }) => expr))
  expect(asked.length).toBeGreaterThan(40)
  // As rules, which is what promtool reads; with a time where Grafana puts its own.
  const recorded = asked.map((expr, number) => ({
    record: `panel:${number}`,
    expr: expr.replaceAll('$__rate_interval', '1m'),
  }))
  const file = join(inject('runFolder'), 'panels.yaml')
  await writeFile(file, stringify({ groups: [{ name: 'panels', rules: recorded }] }))
  expect(await runProgram(promtool, ['check', 'rules', file])).toMatchObject({ code: 0 })
})

const Panels = z.object({
  panels: z.array(z.object({ targets: z.array(z.object({ expr: z.string() })).default([]) })),
})

type Played = { alert: string; series: Series; at: string; expected: object[] }

/** Plays at once what goes by other metrics: each time that time is played costs as much as all of it. */
function together(played: readonly Played[]) {
  const groups: { metrics: Set<string>; cases: Played[] }[] = []
  for (const one of played) {
    const metrics = Object.keys(one.series).map((series) => series.replace(/{.*/, ''))
    let group = groups.find((other) => metrics.every((metric) => !other.metrics.has(metric)))
    if (!group) groups.push((group = { metrics: new Set(), cases: [] }))
    for (const metric of metrics) group.metrics.add(metric)
    group.cases.push(one)
  }
  return groups.map(({ cases }) => ({
    interval: '15s',
    input_series: cases.flatMap(({ series }) =>
      Object.entries(series).map(([name, values]) => ({ series: name, values })),
    ),
    alert_rule_test: cases.map(({ alert, at, expected }) => ({
      eval_time: at,
      alertname: alert,
      exp_alerts: expected,
    })),
  }))
}
