// How fast the lines of a batch run through the whole of it (upload, creation, validation, run, finish), and what a line costs.
import { measureBatchSpeed, batchRatio, type BatchSpeed } from '../support/batch-speed.ts'
import { batchLines, settingsFor } from '../support/batch-client.ts'
import type { BatchOptions } from '../support/batch-options.ts'
import { NAMES, startBatchGateway } from '../support/batch-rounds.ts'
import type { Children } from '../support/children.ts'
import { project } from '../support/gateway.ts'
import { noteOf, type Figure, type Measure, type Measured, type Size } from '../support/measure.ts'

// As a fast provider answers.
const ANSWER_MS = 20
const AT_LEAST = { bare: 0.6, queue: 1.2 }

/** Lines of a batch beside a bare loop and BullMQ. */
export const batch: Measure = { name: 'batch', title: 'Lines of a batch beside a bare loop and BullMQ', run }

async function run(children: Children, size: Size): Promise<Measured> {
  const options: BatchOptions = {
    ...(size.isQuick ? { lines: 2_000, rounds: 1 } : { lines: 10_000, rounds: 3 }),
    concurrency: 100,
    delaysMs: [0, ANSWER_MS],
    sizes: [],
    waitingLines: 0,
    waitingBatches: 0,
    parts: { speed: true, gateway: true, growth: false, memory: false },
    promptBytes: 1_000,
    jsonFile: '',
    profileFolder: size.profileFolder,
  }
  const upstream = await children.startHelper('upstream', project('bench/processes/upstream.ts'))
  const ours = await startBatchGateway(children, options, 'gateway')
  await ours.client.run(batchLines(1, options.promptBytes), settingsFor(upstream.url, 1))
  const measured = await measureBatchSpeed(children, upstream, ours, options)
  const [atOnce, delayed] = [0, ANSWER_MS].map((delayMs) => measured.find((one) => one.delayMs === delayMs))
  const upstreams = { atOnce: 'upstream answers at once', delayed: `${ANSWER_MS} ms upstream` }
  return {
    figures: [
      ratio(
        `batch lines/s over a bare undici loop, ${upstreams.delayed}`,
        delayed,
        NAMES.bareLoop,
        AT_LEAST.bare,
      ),
      ratio(`batch lines/s over a bare undici loop, ${upstreams.atOnce}`, atOnce, NAMES.bareLoop, null),
      ratio(
        `batch lines/s over BullMQ with jobs that call, ${upstreams.delayed}`,
        delayed,
        NAMES.callingQueue,
        AT_LEAST.queue,
      ),
      ratio(
        `batch lines/s over BullMQ with jobs that call, ${upstreams.atOnce}`,
        atOnce,
        NAMES.callingQueue,
        AT_LEAST.queue,
      ),
      ratio(`batch lines/s over BullMQ with jobs that do nothing`, atOnce, NAMES.emptyQueue, AT_LEAST.queue),
      ...['api', 'worker', 'redis'].map((name) => cpuOf(name, delayed, upstreams.delayed)),
    ],
    details: { measured },
  }
}

function ratio(text: string, speed: BatchSpeed | undefined, over: string, atLeast: number | null): Figure {
  return {
    text,
    reached: batchRatio(speed?.summaries ?? [], over) ?? Number.NaN,
    unit: 'x',
    aim: atLeast === null ? null : { atLeast },
    ...noteOf(speed?.summaries ?? []),
  }
}

function cpuOf(name: string, speed: BatchSpeed | undefined, upstream: string): Figure {
  const summaries = speed?.summaries.filter((summary) => summary.name === NAMES.gateway) ?? []
  return {
    text: `CPU of ${name} for a line, ${upstream}`,
    reached: summaries[0]?.cpuUs?.[name] ?? Number.NaN,
    unit: 'us',
    aim: null,
    ...noteOf(summaries),
  }
}
