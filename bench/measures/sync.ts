// How fast a completion comes back: (a) bare Fastify + undici, (b) @portkey-ai/gateway, (c) our API and worker, on one
// machine, in one run, in turn, with an upstream that answers at once.
import { availableParallelism } from 'node:os'
import type { Children, Helper } from '../support/children.ts'
import { countUpstreamCalls, NAMES, startBareProxy, startOurs, startPortkey } from '../support/contenders.ts'
import { project } from '../support/gateway.ts'
import { noteOf, type Measure, type Measured, type Size } from '../support/measure.ts'
import type { Options } from '../support/options.ts'
import { describeStatistics } from '../support/redis-statistics.ts'
import { printRatios, printSummaries, ratiosOf } from '../support/report.ts'
import { completionBody } from '../support/requests.ts'
import { measureRounds, type Contender, type Summary } from '../support/rounds.ts'

const PAIRS = [
  [NAMES.gateway, NAMES.portkey],
  [NAMES.gateway, NAMES.bare],
  [NAMES.portkey, NAMES.bare],
] as const
const AIMS = [
  { over: NAMES.portkey, connections: 200, atLeast: 1.8 },
  { over: NAMES.portkey, connections: 50, atLeast: 1.5 },
  { over: NAMES.bare, connections: 200, atLeast: 0.3 },
  { over: NAMES.bare, connections: 50, atLeast: 0.3 },
]

/** Synchronous completions beside peers. */
export const sync: Measure = { name: 'sync', title: 'Sync completions beside peers', run }

async function run(children: Children, size: Size): Promise<Measured> {
  const upstream = await children.startHelper('upstream', project('bench/processes/upstream.ts'))
  const { summaries, ratios } = await compareSync(children, upstream, {
    ...(size.isQuick
      ? { seconds: 2, rounds: 1, warmupSeconds: 2 }
      : { seconds: 5, rounds: 3, warmupSeconds: 3 }),
    connections: [50, 200],
    promptBytes: 1_000,
    profileFolder: size.profileFolder,
    only: [],
  })
  const figures = AIMS.map(({ over, connections, atLeast }) => ({
    text: `sync completions/s, ${connections} connections, over ${over}`,
    reached:
      ratios.find((one) => one.of === NAMES.gateway && one.over === over && one.connections === connections)
        ?.ratio ?? Number.NaN,
    unit: 'x' as const,
    aim: { atLeast },
    ...noteOf(summaries),
  }))
  return { figures, details: { summaries, ratios } }
}

/** Measures those contenders that are wanted, in turn, and prints what was found. */
export async function compareSync(
  children: Children,
  upstream: Helper,
  options: Pick<
    Options,
    'seconds' | 'rounds' | 'warmupSeconds' | 'connections' | 'promptBytes' | 'profileFolder' | 'only'
  >,
) {
  const load = await children.startHelper('load', project('bench/processes/load-generator.ts'))
  const { promptBytes, profileFolder, only } = options
  const sent = { body: completionBody(promptBytes), promptBytes, profileFolder }
  const starts = { bare: startBareProxy, portkey: startPortkey, gateway: startOurs }
  const contenders: Contender[] = []
  for (const [name, start] of Object.entries(starts)) {
    if (only.length > 0 && !only.includes(name)) continue
    contenders.push(countUpstreamCalls(await start(children, upstream, sent), upstream))
  }
  const summaries = await measureRounds(contenders, load, options, availableParallelism())
  printSummaries(summaries)
  const ratios = ratiosOf(summaries, PAIRS)
  printRatios(ratios)
  for (const summary of summaries) checkCalls(summary)
  return { summaries, ratios }
}

function checkCalls({ name, connections, counters }: Summary): void {
  const calls = counters['upstream calls'] ?? 0
  if (Math.abs(calls - 1) > 0.001) {
    console.log(`${name} called the upstream ${calls.toFixed(3)} times a request`)
  }
  if (name === NAMES.gateway) {
    console.log(`Redis commands per job at ${connections}: ${describeStatistics(counters)}`)
  }
}
