// What it costs to tell what goes on: traces on and off, and the log with its lines of requests and attempts on and off, by the
// processor time of a synchronous completion, in turn.
import { availableParallelism } from 'node:os'
import { ask, type Children } from '../support/children.ts'
import { startOurs } from '../support/contenders.ts'
import { project } from '../support/gateway.ts'
import { noteOf, type Figure, type Measure, type Measured, type Size } from '../support/measure.ts'
import { printSummaries } from '../support/report.ts'
import { completionBody } from '../support/requests.ts'
import { measureRounds, type Contender, type Summary } from '../support/rounds.ts'

const PROMPT_BYTES = 1_000
const CONNECTIONS = 50
const PERCENT_MAX = 5
const NAMES = { usual: 'as usual', traced: 'with traces', quiet: 'log at warn' } as const
const PROCESSES = ['api', 'worker', 'redis']

/** Cost of traces and of the log. */
export const telling: Measure = { name: 'telling', title: 'Cost of traces and of the log', run }

async function run(children: Children, size: Size): Promise<Measured> {
  const upstream = await children.startHelper('upstream', project('bench/processes/upstream.ts'))
  const load = await children.startHelper('load', project('bench/processes/load-generator.ts'))
  const sink = await children.startHelper('trace-sink', project('bench/processes/trace-sink.ts'))
  const { profileFolder } = size
  const sent = { body: completionBody(PROMPT_BYTES), promptBytes: PROMPT_BYTES, profileFolder }
  const environments = {
    [NAMES.usual]: {},
    [NAMES.traced]: { OTEL_EXPORTER_OTLP_ENDPOINT: sink.url },
    [NAMES.quiet]: { LOG_LEVEL: 'warn' },
  }
  const contenders: Contender[] = []
  for (const [name, env] of Object.entries(environments)) {
    const redisName = `redis-${name.replaceAll(' ', '-')}`
    contenders.push({ ...(await startOurs(children, upstream, sent, { redisName, env })), name })
  }
  const summaries = await measureRounds(
    contenders,
    load,
    {
      ...(size.isQuick
        ? { seconds: 2, rounds: 1, warmupSeconds: 2 }
        : { seconds: 5, rounds: 5, warmupSeconds: 3 }),
      connections: [CONNECTIONS],
    },
    availableParallelism(),
  )
  printSummaries(summaries)
  const told = await ask<{ requests: number; bytes: number }>(sink, {}, 10_000)
  console.log(`  ${told.requests} exports of ${told.bytes} bytes came`)
  if (told.requests === 0) throw new Error('No trace was exported')
  const used = (name: string) => sumOf(summaries.find((summary) => summary.name === name))
  const note = noteOf(summaries)
  const figure = (text: string, more: string, less: string, aim: Figure['aim']): Figure => ({
    text,
    reached: (used(more) / used(less) - 1) * 100,
    unit: '%',
    aim,
    ...note,
  })
  return {
    figures: [
      figure('CPU of a sync job that traces add', NAMES.traced, NAMES.usual, { atMost: PERCENT_MAX }),
      figure('CPU of a sync job that log lines of requests and attempts add', NAMES.usual, NAMES.quiet, null),
    ],
    details: { summaries, told },
  }
}

/** Of our processes and Redis, a request. */
function sumOf(summary: Summary | undefined): number {
  return PROCESSES.reduce((sum, name) => sum + (summary?.cpuUs?.[name] ?? Number.NaN), 0)
}
