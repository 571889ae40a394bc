import { availableParallelism } from 'node:os'
import type { LoopOrder, LoopResult } from '../processes/bare-loop.ts'
import type { QueueOrder } from '../processes/raw-queue.ts'
import { batchLines, createBatchClient, settingsFor, type BatchRun } from './batch-client.ts'
import type { BatchOptions } from './batch-options.ts'
import { ask, type Child, type Children, type Helper } from './children.ts'
import { measureCpu } from './cpu.ts'
import { project, startGateway, startRedis } from './gateway.ts'
import { readStatistics } from './redis-statistics.ts'
import { completionBody } from './requests.ts'

const CORES = availableParallelism()
const RUN_TIMEOUT_MS = 600_000
// As many slots as a worker has unless it is told; more where a tenant's 85% of them would be less than what is asked for.
const SLOTS_MIN = 500
const SLOTS_PER_CALL = 1.25

/** What the contenders are called in tables. */
export const NAMES = {
  bareLoop: 'bare loop',
  gateway: 'gateway',
  callingQueue: 'BullMQ, jobs that call',
  emptyQueue: 'BullMQ, jobs that do nothing',
} as const

/** What one run over so many lines gave. CPU in microseconds a line. */
export type BatchRound = {
  lines: number
  seconds: number
  cpuUs: Record<string, number> | null
  /** Share of the machine that everything else used meanwhile, 0 to 1. */
  othersShare: number | null
  /** Seconds of its steps. */
  steps: Omit<BatchRun, 'batch'> | null
  /** Redis' own count of commands, a line. */
  counters: Record<string, number>
}

/** One of those that are compared. */
export type BatchContender = { name: string; run: (lines: number) => Promise<BatchRound> }

type Measured = { seconds: number; steps?: BatchRound['steps'] }

/** The bare undici loop. */
export async function startBareLoop(children: Children, upstream: Helper, options: BatchOptions) {
  const loop = await children.startHelper('bare-loop', project('bench/processes/bare-loop.ts'))
  const body = JSON.stringify(completionBody(options.promptBytes))
  const url = `${upstream.url}/v1/chat/completions`
  return contender(NAMES.bareLoop, { loop: loop.pid, upstream: upstream.pid }, async (lines) => {
    const order: LoopOrder = { url, body, lines, concurrency: options.concurrency }
    const { seconds, errors } = await ask<LoopResult>(loop, order, RUN_TIMEOUT_MS)
    if (errors > 0) throw new Error(`${errors} calls of the bare loop failed`)
    return { seconds }
  })
}

/** BullMQ with jobs that do nothing, and with jobs that make the call, in a Redis of its own. */
export async function startRawQueue(children: Children, upstream: Helper, options: BatchOptions) {
  const redis = await startRedis(children, 'redis-raw')
  const queue = await children.startHelper('raw-queue', project('bench/processes/raw-queue.ts'), [redis.url])
  const pids = { queue: queue.pid, redis: redis.pid }
  const run = (lines: number, call: QueueOrder['call']) => {
    const order: QueueOrder = { lines, concurrency: options.concurrency, call }
    return ask<Measured>(queue, order, RUN_TIMEOUT_MS)
  }
  const url = `${upstream.url}/v1/chat/completions`
  const call = { url, body: JSON.stringify(completionBody(options.promptBytes)) }
  return {
    empty: contender(NAMES.emptyQueue, pids, (lines) => run(lines, null)),
    calling: contender(NAMES.callingQueue, { ...pids, upstream: upstream.pid }, (lines) => run(lines, call)),
  }
}

/** One API, one worker and a Redis, ready for batches. */
export async function startBatchGateway(children: Children, options: BatchOptions, name: string) {
  const redis = await startRedis(children, `redis-${name}`)
  const gateway = await startGateway({
    children,
    redisUrls: { api: redis.url, worker: redis.url },
    profileFolder: options.profileFolder,
    env: {
      WORKER_CONCURRENCY: String(Math.max(SLOTS_MIN, Math.ceil(options.concurrency * SLOTS_PER_CALL))),
    },
  })
  const pids = { api: gateway.api.pid, worker: gateway.worker?.pid ?? -1, redis: redis.pid }
  return { gateway, redis, pids, client: createBatchClient(gateway) }
}

export type BatchGateway = Awaited<ReturnType<typeof startBatchGateway>>

/** Ours: a batch from its upload to its end. */
export function gatewayContender(
  ours: BatchGateway,
  upstream: Helper,
  options: BatchOptions,
): BatchContender {
  const settings = settingsFor(upstream.url, options.concurrency)
  return contender(
    NAMES.gateway,
    { ...ours.pids, upstream: upstream.pid },
    async (count, start) => {
      const lines = batchLines(count, options.promptBytes)
      start()
      const { batch: _, ...steps } = await ours.client.run(lines, settings)
      return { seconds: steps.uploadS + steps.validateS + steps.runS, steps }
    },
    () => readStatistics(ours.redis.client),
  )
}

/** Every line must have called the upstream once: neither a cache nor a retry may be measured. */
export function countCalls({ name, run }: BatchContender, upstream: Child): BatchContender {
  const calls = () => ask<{ calls: number }>(upstream, { question: 'calls' }, 10_000)
  return {
    name,
    async run(lines) {
      const before = await calls()
      const round = await run(lines)
      const made = (await calls()).calls - before.calls
      if (made !== lines) throw new Error(`${name} made ${made} calls for ${lines} lines`)
      return round
    },
  }
}

function contender(
  name: string,
  pids: Record<string, number>,
  measure: (lines: number, start: () => void) => Promise<Measured>,
  counters: () => Promise<Record<string, number>> = () => Promise.resolve({}),
): BatchContender {
  return {
    name,
    async run(lines) {
      const before = await counters()
      let [stopCpu, startedAt] = [measureCpu(pids), performance.now()]
      // What a client prepares is not measured.
      const start = () => ([stopCpu, startedAt] = [measureCpu(pids), performance.now()])
      const { seconds, steps = null } = await measure(lines, start)
      const wholeUs = (performance.now() - startedAt) * 1000
      const cpu = stopCpu()
      const after = await counters()
      const each = (entries: [string, number][]) =>
        Object.fromEntries(entries.map(([key, value]) => [key, value / lines]))
      return {
        lines,
        seconds,
        cpuUs: cpu && each(Object.entries(cpu.byProcess)),
        othersShare: cpu && cpu.others / (wholeUs * CORES),
        steps,
        counters: each(Object.entries(after).map(([key, value]) => [key, value - (before[key] ?? 0)])),
      }
    },
  }
}
