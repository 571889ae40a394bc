import { printBatchSummaries, summarizeRounds, type BatchSummary } from './batch-report.ts'
import type { BatchOptions } from './batch-options.ts'
import {
  countCalls,
  gatewayContender,
  NAMES,
  startBareLoop,
  startRawQueue,
  type BatchContender,
  type BatchGateway,
  type BatchRound,
} from './batch-rounds.ts'
import { ask, type Children, type Helper } from './children.ts'

const WARMUP_LINES = 2_000

/** What was measured with an upstream that answers in so many milliseconds: ours, and what it is compared with. */
export type BatchSpeed = { delayMs: number; summaries: BatchSummary[] }

/**
 * Runs batches with as many calls at once, beside (a) a bare undici loop, (b) BullMQ with jobs that do nothing and (c) BullMQ
 * with jobs that make the call, in turn, for each time in which the upstream answers; and prints what was found.
 * @param isAlone Ours alone, without what it is compared with.
 */
export async function measureBatchSpeed(
  children: Children,
  upstream: Helper,
  ours: BatchGateway,
  options: BatchOptions,
  { isAlone = false } = {},
): Promise<BatchSpeed[]> {
  const contenders = [countCalls(gatewayContender(ours, upstream, options), upstream)]
  if (!isAlone) {
    const queues = await startRawQueue(children, upstream, options)
    contenders.unshift(countCalls(await startBareLoop(children, upstream, options), upstream))
    contenders.push(countCalls(queues.calling, upstream), queues.empty)
  }
  const measured: BatchSpeed[] = []
  for (const delayMs of options.delaysMs) {
    await ask(upstream, { delayMs }, 10_000)
    // Jobs that do nothing take as long whatever the upstream does.
    const isFirst = measured.length === 0
    const taken = contenders.filter(({ name }) => isFirst || name !== NAMES.emptyQueue)
    const summaries = await measureSideBySide(taken, options)
    const answers = delayMs === 0 ? 'at once' : `in ${delayMs} ms`
    printBatchSummaries(
      summaries,
      `${options.lines} lines, ${options.concurrency} calls at once, the upstream answers ${answers}`,
    )
    for (const over of Object.values(NAMES)) {
      const ratio = batchRatio(summaries, over)
      if (ratio !== null && over !== NAMES.gateway) console.log(`  gateway / ${over}: ${ratio.toFixed(2)}`)
    }
    measured.push({ delayMs, summaries })
  }
  await ask(upstream, { delayMs: 0 }, 10_000)
  return measured
}

/** By how much ours does more lines a second than another; null where one was not measured. */
export function batchRatio(summaries: readonly BatchSummary[], over: string): number | null {
  const rate = (name: string) => summaries.find((one) => one.name === name)?.perSecond
  const [mine, theirs] = [rate(NAMES.gateway), rate(over)]
  return mine === undefined || !theirs ? null : mine / theirs
}

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
