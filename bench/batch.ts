// How fast the lines of a batch run through the whole of it (upload, creation, validation, run, finish), beside (a) a bare
// undici loop with as many calls at once and (b) BullMQ with as many jobs that do nothing; what a line costs each process;
// how time grows with size; and what waiting lines take of Redis.
import { batchLines, settingsFor } from './support/batch-client.ts'
import { readBatchOptions, type BatchOptions } from './support/batch-options.ts'
import {
  printBatchSummaries,
  printGrowth,
  printRatio,
  printWaiting,
  summarizeRounds,
  type BatchSummary,
} from './support/batch-report.ts'
import {
  countCalls,
  gatewayContender,
  startBareLoop,
  startBatchGateway,
  startRawQueue,
  type BatchContender,
  type BatchGateway,
  type BatchRound,
} from './support/batch-rounds.ts'
import { measureWaiting } from './support/batch-waiting.ts'
import { ask, createChildren, type Children, type Helper } from './support/children.ts'
import { project } from './support/gateway.ts'
import { memoryOf } from './support/process-memory.ts'
import { writeJson } from './support/report.ts'

const WARMUP_LINES = 2_000
const AIMS = { bareAtOnce: 0.5, bareDelayed: 0.6, queue: 1 }

/** Rounds in turn, so that a machine that gets slower does so for all. */
async function measureSideBySide(
  contenders: readonly BatchContender[],
  { lines, rounds }: BatchOptions,
): Promise<BatchSummary[]> {
  const all = new Map<string, BatchRound[]>(contenders.map(({ name }) => [name, []]))
  for (const { run } of contenders) await run(Math.min(WARMUP_LINES, lines))
  for (let round = 0; round < rounds; round += 1) {
    for (const { name, run } of contenders) all.get(name)?.push(await run(lines))
  }
  return [...all].map(([name, measured]) => summarizeRounds(name, measured))
}

async function measureSpeed(children: Children, upstream: Helper, ours: BatchGateway, options: BatchOptions) {
  const { lines, concurrency } = options
  const calling = [countCalls(gatewayContender(ours, upstream, options), upstream)]
  const others: BatchContender[] = []
  if (options.parts.speed) {
    calling.unshift(countCalls(await startBareLoop(children, upstream, options), upstream))
    others.push(await startRawQueue(children, options))
  }
  const measured = []
  for (const delayMs of options.delaysMs) {
    await ask(upstream, { delayMs }, 10_000)
    const summaries = await measureSideBySide([...calling, ...others], options)
    const answers = delayMs === 0 ? 'at once' : `in ${delayMs} ms`
    printBatchSummaries(
      summaries,
      `${lines} lines, ${concurrency} calls at once, the upstream answers ${answers}`,
    )
    const bare = printRatio(summaries, 'bare loop', delayMs === 0 ? AIMS.bareAtOnce : AIMS.bareDelayed)
    const queue = delayMs === 0 ? printRatio(summaries, 'raw BullMQ', AIMS.queue) : null
    measured.push({ delayMs, summaries, ratios: { bare, queue } })
  }
  await ask(upstream, { delayMs: 0 }, 10_000)
  return measured
}

async function measureGrowth(upstream: Helper, ours: BatchGateway, options: BatchOptions) {
  const { run } = countCalls(gatewayContender(ours, upstream, options), upstream)
  const rounds: BatchRound[] = []
  for (const size of options.sizes) rounds.push(await run(size))
  const memory = memoryOf(ours.pids)
  printGrowth(rounds, memory)
  return { rounds, memory }
}

async function main(options: BatchOptions): Promise<void> {
  const children = createChildren()
  const { parts } = options
  try {
    const upstream = await children.startHelper('upstream', project('bench/processes/upstream.ts'))
    const results: Record<string, unknown> = {}
    if (parts.speed || parts.gateway || parts.growth) {
      const ours = await startBatchGateway(children, options, 'gateway')
      await ours.client.run(batchLines(1, options.promptBytes), settingsFor(upstream.url, 1))
      if (parts.speed || parts.gateway)
        results['speed'] = await measureSpeed(children, upstream, ours, options)
      if (parts.growth) results['growth'] = await measureGrowth(upstream, ours, options)
      await children.end(ours.gateway.worker ?? ours.gateway.api)
    }
    if (parts.memory) {
      const found = []
      for (const hasOwnKeys of [false, true])
        found.push(...(await measureWaiting(children, upstream, options, hasOwnKeys)))
      printWaiting(found)
      results['waiting'] = found
    }
    if (options.jsonFile !== '') writeJson(options.jsonFile, { options, ...results })
  } finally {
    await children.stop()
  }
}

await main(readBatchOptions())
