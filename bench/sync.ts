// How fast a completion comes back: (a) bare Fastify + undici, (b) @portkey-ai/gateway, (c) our API and worker, on one
// machine, in one run, in turn, with an upstream that answers at once. And what one job costs: processor time of each
// process, and round trips to Redis.
import { availableParallelism } from 'node:os'
import { createChildren } from './support/children.ts'
import { countUpstreamCalls, NAMES, startBareProxy, startOurs, startPortkey } from './support/contenders.ts'
import { project } from './support/gateway.ts'
import { readOptions, type Options } from './support/options.ts'
import { describeStatistics } from './support/redis-statistics.ts'
import { compare, printSummaries, writeJson } from './support/report.ts'
import { completionBody } from './support/requests.ts'
import { countRoundTrips, printRoundTrips } from './support/round-trips.ts'
import { measureRounds, type Contender } from './support/rounds.ts'

const TARGETS = [
  { text: 'the aim', of: NAMES.gateway, over: NAMES.portkey, connections: 200, atLeast: 1.2 },
  { text: 'the aim', of: NAMES.gateway, over: NAMES.bare, connections: 200, atLeast: 0.2 },
]

async function main(options: Options): Promise<void> {
  const children = createChildren()
  try {
    const upstream = await children.startHelper('upstream', project('bench/processes/upstream.ts'))
    const load = await children.startHelper('load', project('bench/processes/load-generator.ts'))
    const { promptBytes, profileFolder } = options
    const sent = { body: completionBody(promptBytes), promptBytes, profileFolder }
    const starts = {
      bare: () => startBareProxy(children, upstream, sent),
      portkey: () => startPortkey(children, upstream, sent),
      gateway: () => startOurs(children, upstream, sent),
    }
    const contenders: Contender[] = []
    for (const [name, start] of Object.entries(starts)) {
      if (options.only.length === 0 || options.only.includes(name)) {
        contenders.push(countUpstreamCalls(await start(), upstream))
      }
    }

    const summaries = await measureRounds(contenders, load, options, availableParallelism())
    printSummaries(summaries)
    const pairs = [
      [NAMES.gateway, NAMES.portkey],
      [NAMES.gateway, NAMES.bare],
      [NAMES.portkey, NAMES.bare],
    ] as const
    const ratios = compare(summaries, pairs, TARGETS)
    for (const { name, connections, counters } of summaries) {
      const calls = counters['upstream calls'] ?? 0
      if (Math.abs(calls - 1) > 0.001)
        console.log(`${name} called the upstream ${calls.toFixed(3)} times a request`)
      if (name === NAMES.gateway) {
        console.log(`Redis commands per job at ${connections}: ${describeStatistics(counters)}`)
      }
    }

    const isOursMeasured = contenders.some(({ name }) => name === NAMES.gateway)
    const roundTrips =
      options.withRoundTrips && isOursMeasured
        ? await countRoundTrips(children, upstream.url, options.promptBytes)
        : null
    if (roundTrips) printRoundTrips(roundTrips)
    if (options.jsonFile !== '') writeJson(options.jsonFile, { options, summaries, ratios, roundTrips })
    if (summaries.some(({ errors }) => errors > 0)) process.exitCode = 1
  } finally {
    await children.stop()
  }
}

await main(readOptions())
