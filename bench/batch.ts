// How fast the lines of a batch run through the whole of it (upload, creation, validation, run, finish), beside (a) a bare
// undici loop with as many calls at once, (b) BullMQ with as many jobs that call and (c) that do nothing; what a line costs each process;
// how time grows with size; and what waiting lines take of Redis.
import { batchLines, settingsFor } from './support/batch-client.ts'
import { readBatchOptions, type BatchOptions } from './support/batch-options.ts'
import { printGrowth, printWaiting } from './support/batch-report.ts'
import {
  countCalls,
  gatewayContender,
  startBatchGateway,
  type BatchGateway,
  type BatchRound,
} from './support/batch-rounds.ts'
import { measureBatchSpeed } from './support/batch-speed.ts'
import { measureWaiting } from './support/batch-waiting.ts'
import { createChildren, type Helper } from './support/children.ts'
import { project } from './support/gateway.ts'
import { memoryOf } from './support/process-memory.ts'
import { writeJson } from './support/report.ts'

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
      if (parts.speed || parts.gateway) {
        const isAlone = !parts.speed
        results['speed'] = await measureBatchSpeed(children, upstream, ours, options, { isAlone })
      }
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
