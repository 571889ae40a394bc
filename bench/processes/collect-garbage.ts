// Loaded before a process of ours (`node --expose-gc --import`): on SIGUSR2 it collects all garbage, and tells by message what
// is in memory then.
import { memoryUsage } from 'node:process'
import { setTimeout as sleep } from 'node:timers/promises'

/** Bytes of a process without garbage. */
export type CollectedMemory = { rss: number; heapUsed: number; external: number }

// What one collection sets free is unmapped by threads of V8, and some of it falls only to a second one.
const UNMAP_MS = 300
const COLLECTIONS = 3

async function tell(): Promise<void> {
  for (let count = 0; count < COLLECTIONS; count += 1) {
    globalThis.gc?.()
    await sleep(UNMAP_MS)
  }
  const { rss, heapUsed, external } = memoryUsage()
  process.send?.({ rss, heapUsed, external } satisfies CollectedMemory)
}

process.on('SIGUSR2', () => void tell())
