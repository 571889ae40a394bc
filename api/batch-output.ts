import { setTimeout as pause } from 'node:timers/promises'
import type { BatchListener } from '../shared/batches/batch-listener.ts'
import type { BatchView } from '../shared/batches/batch-record.ts'
import { partOf, type OrderEntry, type ResultPart } from '../shared/batches/batch-results.ts'
import type { Batches } from '../shared/batches/batches.ts'
import { joinTexts } from '../shared/batches/result-file.ts'
import type { ResultLogs } from '../shared/batches/result-log.ts'
import { unlessAway } from './following.ts'

// Word of a settled line can be lost, so it is looked for every so often; and no more often than this, however many settle.
const LOOK_MS_MAX = 2_000
const LOOK_MS_MIN = 50
// What is held for one reader who does not read: so many places of results, and so many bytes of them.
const PLACES_AT_ONCE = 1_000
const READ_BYTES = 256 * 1024

/** Says nothing, and every reader of JSON lines passes over it. */
const HEARTBEAT = Buffer.from('\n')

export type BatchOutputDeps = {
  batches: Pick<Batches, 'read' | 'entries'>
  results: ResultLogs
  news: BatchListener
  /** After so many milliseconds without a line a reader who follows is told that the batch is under way. */
  heartbeatMs: number
}

/**
 * The result lines of a batch, each once: those that are settled by now, or all until it has ended.
 * @param batch As it stands now.
 * @param signal Ends following. Null: it is not followed, and an absent Redis is an error.
 */
export async function* readBatchOutput(
  { batches, results, news, heartbeatMs }: BatchOutputDeps,
  batch: BatchView,
  parts: ReadonlySet<ResultPart>,
  signal: AbortSignal | null,
): AsyncGenerator<Buffer> {
  const { tenant, id } = batch
  const told = createLineSet()
  const isNew = ({ line, outcome }: OrderEntry) => parts.has(partOf(outcome)) && told.add(line)
  const watch = signal ? news.watch(id) : null
  let [hasEnded, place, toldAtMs] = [batch.isTerminal, 0, performance.now()]
  try {
    for (;;) {
      const asked = batches.entries(tenant, id, place, PLACES_AT_ONCE)
      const page = signal ? await unlessAway(asked) : await asked
      place = page?.next ?? place
      for await (const piece of joinTexts(
        results.read(batch, page?.entries.filter(isNew) ?? [], READ_BYTES),
      )) {
        yield piece
        toldAtMs = performance.now()
        if (signal?.aborted) return
      }
      if (page && page.entries.length > 0) continue
      if (!watch || !signal || signal.aborted || (page && hasEnded)) return

      if (performance.now() - toldAtMs >= heartbeatMs) {
        yield HEARTBEAT
        toldAtMs = performance.now()
      }
      await pause(LOOK_MS_MIN, undefined, { signal }).catch(() => undefined)
      await watch.wait(Math.min(LOOK_MS_MAX, heartbeatMs), signal)
      const view = await unlessAway(batches.read(tenant, id))
      if (view === null) return
      // Those of a batch that is to be sorted have changed their places.
      if (view?.isTerminal && !hasEnded) [hasEnded, place] = [true, 0]
    }
  } finally {
    watch?.close()
  }
}

/** Lines that were told, a bit each. */
function createLineSet() {
  let bits = new Uint8Array(1_024)
  return {
    /** False when it was there. */
    add(line: number): boolean {
      const [at, bit] = [line >> 3, 1 << (line & 7)]
      if (at >= bits.length) {
        const longer = new Uint8Array(2 * at)
        longer.set(bits)
        bits = longer
      }
      const [byte = 0] = [bits[at]]
      bits[at] = byte | bit
      return (byte & bit) === 0
    },
  }
}
