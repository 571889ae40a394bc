// How fast streams pass: (a) bare Fastify + undici, (b) @portkey-ai/gateway, (c) our API, queue and worker, on one machine,
// in one run, in turn. Many at a time, as fast as the upstream can write and at a provider's pace; then one at a time, to
// see how much later its first token comes. Every byte is checked.
import { availableParallelism } from 'node:os'
import { ask, createChildren, type Children, type Helper } from './support/children.ts'
import { countUpstreamCalls, NAMES, startBareProxy, startOurs, startPortkey } from './support/contenders.ts'
import { project } from './support/gateway.ts'
import { readOptions, type Options } from './support/options.ts'
import { describeStatistics } from './support/redis-statistics.ts'
import { describeCpu, printRatios, printTable, ratiosOf, warnOfOthers, writeJson } from './support/report.ts'
import { completionBody } from './support/requests.ts'
import { measureRounds, type Contender, type Summary } from './support/rounds.ts'
import type { Pace } from './support/stream-answer.ts'

// Short enough that many fit into a round, long enough that a stream is no single piece.
const IDLE: Pace = { chunks: 10, intervalMs: 2 }
const ADDED_MS_MAX = 5
const PAIRS = [
  [NAMES.gateway, NAMES.portkey],
  [NAMES.gateway, NAMES.bare],
  [NAMES.portkey, NAMES.bare],
] as const

async function startContenders(children: Children, upstream: Helper, options: Options) {
  const { promptBytes, profileFolder, only } = options
  const sent = { body: { ...completionBody(promptBytes), stream: true }, promptBytes, profileFolder }
  const starts = { bare: startBareProxy, portkey: startPortkey, gateway: startOurs }
  const contenders: Contender[] = []
  for (const [name, start] of Object.entries(starts)) {
    if (only.length > 0 && !only.includes(name)) continue
    contenders.push(countUpstreamCalls(await start(children, upstream, sent), upstream))
  }
  return contenders
}

function printStreams(summaries: readonly Summary[], pace: Pace): void {
  const [first] = summaries
  const { chunks, intervalMs } = pace
  const every = intervalMs === 0 ? 'as fast as they can be written' : `one every ${intervalMs} ms`
  console.log(`\n${first?.connections} streams at a time, ${chunks} chunks each, ${every}`)
  const rows = summaries.map((summary) => [
    summary.name,
    (summary.perSecond * chunks).toFixed(0),
    summary.perSecond.toFixed(1),
    summary.p50Ms.toFixed(1),
    summary.p99Ms.toFixed(1),
    (summary.figures['wholeP50Ms'] ?? 0).toFixed(0),
    (summary.figures['frames'] ?? 0).toFixed(0),
    String(summary.errors),
    summary.othersShare === null ? '-' : `${(summary.othersShare * 100).toFixed(0)}%`,
    describeCpu(summary.cpuUs),
  ])
  printTable(
    [
      '',
      'chunks/s',
      'streams/s',
      'first p50 ms',
      'p99 ms',
      'whole p50 ms',
      'pieces',
      'errors',
      'others',
      'CPU us/stream',
    ],
    rows,
  )
  for (const { name, firstError, counters } of summaries) {
    if (firstError !== null) console.log(`  ${name}: ${firstError}`)
    const calls = counters['upstream calls'] ?? 0
    if (Math.abs(calls - 1) > 0.001) console.log(`  ${name} called the upstream ${calls.toFixed(3)} times`)
    if (name === NAMES.gateway) console.log(`  Redis commands per stream: ${describeStatistics(counters)}`)
  }
}

/** Milliseconds by which the first token comes later than through the bare proxy, at p50; by name. */
function printAdded(summaries: readonly Summary[]): Record<string, number> {
  const bare = summaries.find(({ name }) => name === NAMES.bare)
  const added: Record<string, number> = {}
  for (const { name, p50Ms } of bare ? summaries : []) {
    if (!bare || name === NAMES.bare) continue
    const addedMs = p50Ms - bare.p50Ms
    added[name] = addedMs
    const isMet = addedMs <= ADDED_MS_MAX ? 'met' : 'NOT met'
    const verdict = name === NAMES.gateway ? ` (the aim: at most ${ADDED_MS_MAX} ms, ${isMet})` : ''
    console.log(`${name}: first token ${addedMs.toFixed(1)} ms after the bare proxy's at p50${verdict}`)
  }
  return added
}

async function main(options: Options): Promise<void> {
  const children = createChildren()
  try {
    const upstream = await children.startHelper('upstream', project('bench/processes/stream-upstream.ts'))
    const load = await children.startHelper('load', project('bench/processes/stream-load.ts'))
    const contenders = await startContenders(children, upstream, options)
    const measure = async (pace: Pace, connections: number[]) => {
      for (const child of [upstream, load]) await ask(child, { pace }, 10_000)
      const summaries = await measureRounds(
        contenders,
        load,
        { ...options, connections },
        availableParallelism(),
      )
      for (const count of connections)
        printStreams(
          summaries.filter((summary) => summary.connections === count),
          pace,
        )
      return { pace, summaries }
    }

    const busy = []
    for (const intervalMs of options.intervalsMs) {
      const measured = await measure({ chunks: options.chunks, intervalMs }, options.connections)
      const ratios = ratiosOf(measured.summaries, PAIRS)
      printRatios(ratios)
      busy.push({ ...measured, ratios })
    }
    const idle = await measure(IDLE, [1])
    const added = printAdded(idle.summaries)
    const all = [...busy, idle].flatMap(({ summaries }) => summaries)
    warnOfOthers(all)
    if (options.jsonFile !== '') writeJson(options.jsonFile, { options, busy, idle, added })
    if (all.some(({ errors }) => errors > 0)) process.exitCode = 1
  } finally {
    await children.stop()
  }
}

await main(readOptions('200'))
