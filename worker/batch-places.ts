import type { ChunkClaim, LogPositions } from '../shared/batches/batch-claims.ts'
import type { BatchInputFile } from '../shared/batches/batch-input.ts'
import { FileGoneError } from '../shared/errors.ts'
import type { Files } from '../shared/files/files.ts'
import type { Logger } from '../shared/log.ts'
import type { ResultLog, ResultLogs } from '../shared/batches/result-log.ts'

// The next chunk of a batch comes within moments, or when parked lines are due.
const IDLE_MS = 30_000
// Batches of which this process knows how to go on with its logs: a batch has no more than 65,535 numbers for them.
const KNOWN_MAX = 10_000

/** What this process has of a batch while it runs chunks of it. */
export type BatchPlace = {
  /** Who appends to its logs, in the eyes of the batch. */
  writer: string
  positions: () => LogPositions
  results: (claim: ChunkClaim) => ResultLog
  /** @throws {FileGoneError} when the input is not there any more. */
  input: (claim: ChunkClaim) => Promise<BatchInputFile>
  /** The batch's fields that lie under its lines, as the same object each time: plans are remembered by it. */
  defaults: (claim: ChunkClaim) => Record<string, unknown>
  leave: () => void
}

type Stay = { place: BatchPlace; uses: number; results: ResultLog | null; idle: NodeJS.Timeout | null }
type Writer = { name: string; from: LogPositions }

/** Keeps what belongs to a batch from one chunk to the next. */
export function createBatchPlaces(deps: {
  results: ResultLogs
  files: Pick<Files, 'read'>
  workerId: string
  log: Logger
  idleMs?: number
}) {
  const { idleMs = IDLE_MS } = deps
  const stays = new Map<string, Stay>()
  const known = new Map<string, Writer>()
  let count = 0

  /** Whoever enters also leaves. */
  function enter(batchId: string): BatchPlace {
    const stay = stays.get(batchId) ?? open(batchId)
    if (stay.idle) clearTimeout(stay.idle)
    stay.uses++
    return stay.place
  }

  function open(batchId: string): Stay {
    let file: Promise<BatchInputFile> | null = null
    let defaults: Record<string, unknown> | null = null
    // A log is never opened twice under one name: hence the count for one that is not known, or in use still.
    const { name: writer, from } = known.get(batchId) ?? {
      name: `${deps.workerId}-${count++}`,
      from: { output: 0, error: 0 },
    }
    known.delete(batchId)
    const place: BatchPlace = {
      writer,
      positions: () => stay.results?.positions() ?? from,
      results: ({ tenant, log }) => (stay.results ??= deps.results.open({ tenant, id: batchId }, log, from)),
      input(claim) {
        file ??= readFile(claim).catch((error: unknown) => {
          file = null
          throw error
        })
        return file
      },
      defaults: (claim) => (defaults ??= claim.defaults),
      leave() {
        stay.uses--
        if (stay.uses === 0) stay.idle = setTimeout(() => void close(batchId), idleMs)
      },
    }
    const stay: Stay = { place, uses: 0, results: null, idle: null }
    stays.set(batchId, stay)
    return stay
  }

  async function readFile({ tenant, meta }: ChunkClaim): Promise<BatchInputFile> {
    const file = await deps.files.read(tenant, meta.inputFileId)
    if (!file) throw new FileGoneError('input')
    const { id, bytes, frameBytes, lines } = file
    return { tenant, fileId: id, bytes, frameBytes, lines: lines ?? 0 }
  }

  async function close(batchId: string): Promise<void> {
    const stay = stays.get(batchId)
    stays.delete(batchId)
    if (!stay) return
    if (stay.idle) clearTimeout(stay.idle)
    remember(batchId, { name: stay.place.writer, from: stay.place.positions() })
    await stay.results?.close().catch((error: unknown) => {
      deps.log.warn({ err: error, batch_id: batchId }, 'A result log was not closed in order')
    })
  }

  function remember(batchId: string, writer: Writer): void {
    known.set(batchId, writer)
    const [oldest = batchId] = known.keys()
    if (known.size > KNOWN_MAX) known.delete(oldest)
  }

  return {
    enter,
    /** Closes the logs of all batches; for the end of the process. */
    async close(): Promise<void> {
      await Promise.all([...stays.keys()].map((batchId) => close(batchId)))
    },
  }
}

export type BatchPlaces = ReturnType<typeof createBatchPlaces>
