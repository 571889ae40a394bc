import { buffer } from 'node:stream/consumers'
import type { LogPositions } from './batch-claims.ts'
import {
  partOf,
  type BatchPlace,
  type LineResult,
  type OrderEntry,
  type ResultPart,
} from './batch-results.ts'
import { FileGoneError, SealError } from '../errors.ts'
import type { FileLog, FileStore } from '../files/file-store.ts'
import {
  openRecord,
  readRecords,
  recordAt,
  recordBytes,
  sealRecord,
  type SealedResult,
} from './result-record.ts'
import type { RecordSealer, Sealer } from '../seal.ts'

// A log that could not be written to is not used any more, nor one that is full: its owner goes on in the next segment. An
// offset holds both, the segment above these bits.
const SEGMENT_BYTES = 2 ** 32
// While the store takes nothing, the next segment is begun less and less often: there are 65,536, and a batch may last a week.
const REOPEN_MS = 1_000
const REOPEN_MS_MAX = 10_000
// A segment whose first write failed has nothing. Further ones may have.
const EMPTY_SEGMENTS_MAX = 3

// What is read at once, unless told; runs of records that lie together are read together, so many of them at a time.
const READ_BYTES = 1024 * 1024
const GAP_BYTES_MAX = 8 * 1024
const RUNS_AT_ONCE = 4
// An entry tells the bytes of a text only. Most of what is sealed with it is shorter than this.
const REST_BYTES = 2_048

/** This process's logs of one batch. */
export type ResultLog = {
  /** Where the next results will lie. */
  positions: () => LogPositions
  /**
   * Resolves when the result is durable. Rejects when it may not be: then it may be appended again, and its entry is that of
   * the append which succeeded.
   */
  append: (result: LineResult) => Promise<OrderEntry>
  /** Resolves when all that was appended is durable, or has failed. */
  close: () => Promise<void>
}

/** Results of batches in the file store: what a process appends, and how all of them are read. */
export function createResultLogs({ store, sealer }: { store: FileStore; sealer: Sealer }) {
  const sealerOf = ({ tenant, id }: BatchPlace) => sealer.record({ tenant, kind: 'batch', id })

  /**
   * Opens the logs, one for each part.
   * @param log Number that the batch gave to this process; nobody else has it.
   * @param from Where they stood when this process closed them before.
   */
  function open(batch: BatchPlace, log: number, from: LogPositions = { output: 0, error: 0 }): ResultLog {
    const sealed = sealerOf(batch)
    const partIn = (part: ResultPart) =>
      openPart(store, from[part], (segment) => segmentName(batch.id, part, log, segment))
    const parts = { output: partIn('output'), error: partIn('error') }
    return {
      positions: () => ({ output: parts.output.position(), error: parts.error.position() }),
      async append(result) {
        const { line, outcome, text } = result
        const offset = await parts[partOf(outcome)].append(sealRecord(sealed, result))
        return { line, outcome, log, offset, length: text.length }
      },
      async close() {
        await Promise.all([parts.output.close(), parts.error.close()])
      },
    }
  }

  /**
   * What a process that died had made durable behind these positions, and may not have settled. A record that is torn, or does
   * not open, ends a segment.
   */
  async function* recover(
    batch: BatchPlace,
    log: number,
    from: LogPositions,
  ): AsyncGenerator<LineResult & { entry: OrderEntry }> {
    const sealed = sealerOf(batch)
    for (const part of ['output', 'error'] as const) {
      let [at, emptyOnes] = [from[part], 0]
      while (emptyOnes < EMPTY_SEGMENTS_MAX) {
        const [segment, start] = [Math.floor(at / SEGMENT_BYTES), at % SEGMENT_BYTES]
        const bytes = store.readLog(segmentName(batch.id, part, log, segment), { from: start })
        emptyOnes++
        for await (const record of readRecords(bytes, at)) {
          const result = tryOpen(sealed, record)
          if (!result) break
          emptyOnes = 0
          const { line, outcome, text } = result
          yield { ...result, entry: { line, outcome, log, offset: record.offset, length: text.length } }
        }
        at = (segment + 1) * SEGMENT_BYTES
      }
    }
  }

  /**
   * The results of these entries, in their order. About `bytesMax` are read ahead of who takes them.
   * @throws {FileGoneError} when one is not kept any more.
   */
  async function* read(
    batch: BatchPlace,
    entries: readonly OrderEntry[],
    bytesMax = READ_BYTES,
  ): AsyncGenerator<LineResult> {
    const sealed = sealerOf(batch)
    for (const some of windowsOf(entries, bytesMax)) {
      const records = await readAll(batch.id, some)
      for (const entry of some) {
        const record = records.get(entry)
        if (record?.line !== entry.line) throw new FileGoneError('result')
        yield openRecord(sealed, record)
      }
    }
  }

  async function readAll(
    batchId: string,
    entries: readonly OrderEntry[],
  ): Promise<Map<OrderEntry, SealedResult>> {
    const records = new Map<OrderEntry, SealedResult>()
    const runs = runsOf(batchId, entries)
    for (let at = 0; at < runs.length; at += RUNS_AT_ONCE) {
      await Promise.all(runs.slice(at, at + RUNS_AT_ONCE).map((run) => readRun(run, records)))
    }
    return records
  }

  async function readRun({ name, entries, from, to }: Run, records: Map<OrderEntry, SealedResult>) {
    const bytes = await readBytes(name, from, to)
    for (const entry of entries) {
      const at = (entry.offset % SEGMENT_BYTES) - from
      const record = recordAt(bytes, at) ?? (await readLonger(name, from + at, recordBytes(bytes, at)))
      if (record) records.set(entry, record)
    }
  }

  // Only the last of a run can be longer than was thought.
  async function readLonger(name: string, from: number, length: number | null): Promise<SealedResult | null> {
    return length === null ? null : recordAt(await readBytes(name, from, from + length), 0)
  }

  function readBytes(name: string, from: number, to: number): Promise<Buffer> {
    return buffer(store.readLog(name, { from, to }))
  }

  return { open, recover, read }
}

export type ResultLogs = ReturnType<typeof createResultLogs>

function segmentName(batchId: string, part: ResultPart, log: number, segment: number): string {
  return `batches/${batchId}/${part}/log-${log}${segment === 0 ? '' : `-${segment}`}`
}

/** One part of a process's results, in as many logs as it takes. */
function openPart(store: FileStore, from: number, nameOf: (segment: number) => string) {
  let segment = Math.ceil(from / SEGMENT_BYTES)
  let current: FileLog | null = null
  let openableAtMs = 0
  let reopenMs = REOPEN_MS
  const closing: Promise<void>[] = []

  function leave(log: FileLog, waitMs: number): void {
    current = null
    segment++
    openableAtMs = performance.now() + waitMs
    closing.push(log.close().catch(() => undefined))
  }

  return {
    position: () => segment * SEGMENT_BYTES + (current?.position() ?? 0),
    async append(record: Buffer): Promise<number> {
      if (current && current.position() >= SEGMENT_BYTES) leave(current, 0)
      if (!current && performance.now() < openableAtMs)
        throw new Error('The file store took no results just now.')
      current ??= store.openLog(nameOf(segment))
      const [log, base] = [current, segment * SEGMENT_BYTES]
      try {
        const offset = base + (await log.append(record))
        reopenMs = REOPEN_MS
        return offset
      } catch (error) {
        if (log === current) {
          leave(log, reopenMs)
          reopenMs = Math.min(2 * reopenMs, REOPEN_MS_MAX)
        }
        throw error
      }
    },
    async close(): Promise<void> {
      await Promise.all([...closing, current?.close()])
    },
  }
}

function tryOpen(sealer: RecordSealer, record: SealedResult): LineResult | null {
  try {
    return openRecord(sealer, record)
  } catch (error) {
    if (!(error instanceof SealError)) throw error
    return null
  }
}

/** Entries that are read together. */
function* windowsOf(entries: readonly OrderEntry[], bytesMax: number): Generator<OrderEntry[]> {
  let [some, bytes] = [[] as OrderEntry[], 0]
  for (const entry of entries) {
    const more = entry.length + REST_BYTES
    if (some.length > 0 && bytes + more > bytesMax) {
      yield some
      ;[some, bytes] = [[], 0]
    }
    some.push(entry)
    bytes += more
  }
  if (some.length > 0) yield some
}

/** Records of one log that lie together, and where. */
type Run = { name: string; entries: OrderEntry[]; from: number; to: number }

function runsOf(batchId: string, entries: readonly OrderEntry[]): Run[] {
  const runs: Run[] = []
  let last: Run | undefined
  for (const place of entries.map((entry) => placeOf(batchId, entry)).toSorted(byPlace)) {
    if (last?.name === place.name && place.from - last.to <= GAP_BYTES_MAX) {
      last.entries.push(...place.entries)
      last.to = Math.max(last.to, place.to)
    } else runs.push((last = place))
  }
  return runs
}

function placeOf(batchId: string, entry: OrderEntry): Run {
  const { log, offset, outcome, length } = entry
  const from = offset % SEGMENT_BYTES
  const name = segmentName(batchId, partOf(outcome), log, Math.floor(offset / SEGMENT_BYTES))
  return { name, entries: [entry], from, to: from + length + REST_BYTES }
}

function byPlace(a: Run, b: Run): number {
  return a.name === b.name ? a.from - b.from : a.name < b.name ? -1 : 1
}
