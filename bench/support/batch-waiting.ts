import { batchLines, settingsFor } from './batch-client.ts'
import type { BatchOptions } from './batch-options.ts'
import { startBatchGateway, type BatchGateway } from './batch-rounds.ts'
import { ask, type Children, type Helper } from './children.ts'
import { memoryOf, type ProcessMemory } from './process-memory.ts'

/** Longer than any of this takes: lines that are called stay in flight, all others wait. */
const HELD_MS = 3_600_000

/** What waiting lines take. */
export type WaitingMemory = {
  lines: number
  hasOwnKeys: boolean
  /** Of Redis, beside what it had before the first upload; a line. */
  redisBytes: number
  /** Seconds from `create` to `in_progress`, of each batch. */
  validateS: number[]
  processes: Record<string, ProcessMemory>
}

/**
 * Lets batches begin whose calls are never answered, and looks at what Redis keeps after the first and after all of them.
 * In a gateway of its own, which is ended after it.
 */
export async function measureWaiting(
  children: Children,
  upstream: Helper,
  options: BatchOptions,
  hasOwnKeys: boolean,
): Promise<WaitingMemory[]> {
  await ask(upstream, { delayMs: HELD_MS }, 10_000)
  const name = hasOwnKeys ? 'own-keys' : 'waiting'
  const ours = await startBatchGateway(children, { ...options, profileFolder: '' }, name)
  const lines = batchLines(options.waitingLines, options.promptBytes, hasOwnKeys)
  const settings = hasOwnKeys
    ? { api_base: `${upstream.url}/v1`, concurrency: options.concurrency }
    : settingsFor(upstream.url, options.concurrency)
  const before = await redisBytes(ours)
  const found: WaitingMemory[] = []
  const validateS: number[] = []
  try {
    for (let count = 1; count <= options.waitingBatches; count += 1) {
      const fileId = await ours.client.upload(lines)
      const startedAt = performance.now()
      const { id } = await ours.client.create(fileId, settings)
      await ours.client.begun(id)
      validateS.push((performance.now() - startedAt) / 1000)
      if (count !== 1 && count !== options.waitingBatches) continue
      const waiting = count * options.waitingLines
      const bytes = (await redisBytes(ours)) - before
      found.push({
        lines: waiting,
        hasOwnKeys,
        redisBytes: bytes / waiting,
        validateS: [...validateS],
        processes: memoryOf(ours.pids),
      })
    }
    return found
  } finally {
    // Its calls in flight never end: it would wait for them.
    ours.gateway.worker?.process.kill('SIGKILL')
    await children.end(ours.gateway.api)
    await ask(upstream, { delayMs: 0 }, 10_000)
  }
}

/** What Redis holds, without what it has set up for clients and its files. */
async function redisBytes({ redis }: BatchGateway): Promise<number> {
  const text = await redis.client.info('memory')
  return Number(/^used_memory_dataset:(\d+)/m.exec(text)?.[1])
}
