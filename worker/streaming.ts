import { createBell } from '../shared/bell.ts'
import type { Claim } from '../shared/jobs/claims.ts'
import { endpointAt } from '../shared/jobs/endpoints.ts'
import { TORN, type JobStream, type JobStreams, type StreamPiece } from '../shared/jobs/job-streams.ts'
import { persist } from './persist.ts'
import { createEventStream } from './providers/event-stream.ts'
import type { ProviderReply, StreamSink } from './providers/provider.ts'
import { readUsage } from './providers/usage.ts'
import { isFiltered } from './providers/answers.ts'
import type { Hold } from './running.ts'
import { createTurns } from './turns.ts'

// As settle.ts keeps a record at least, and what the steps between may take.
const KEPT_MS_MIN = 60_000

// Of all streams of a process together. Above this a piece waits for its turn, and what comes meanwhile goes with it: with
// 200 streams of 50 tokens a second some 50 ms, in which Redis and the API do the work of one piece, not of three.
const PIECES_PER_SECOND_MAX = 4_000
// Waits that are shorter cost more than they save.
const TURN_MS_MIN = 5

// What a reader's API process holds at once is made of pieces.
const PIECE_BYTES_MAX = 64 * 1024

/** The way of one claim's streamed answer to whoever reads it. */
export type RunStream = StreamSink & {
  /** A piece was passed on: from now on no other call can take the place of this one. */
  isStarted: () => boolean
  /** When that was, in Unix milliseconds. */
  startedMs: () => number | null
  /** Resolves when all that was written is in Redis, or never will be since the run was stopped. */
  flushed: () => Promise<void>
  /**
   * The answer is whole and counts, whatever stops the run now: tells what is left of it.
   * @returns how many pieces there are; `TORN` when a newer claim has the stream, or Redis does not take a piece.
   */
  finish: () => Promise<number>
}

/** What an earlier claim of the job passed on before its worker was lost. */
export type Remains =
  | { kind: 'whole'; reply: ProviderReply; pieces: number }
  | { kind: 'partial'; partial: Buffer | null }

/** Streams of running jobs. */
export function createStreaming(deps: {
  streamOf: JobStreams
  /** Ends a run whose claim was replaced. */
  lose: (jobId: string) => void
  /** How long a result with a webhook outlives its end at least, in milliseconds. */
  resultRetentionMs: number
  /** Milliseconds until the next piece may go; of all streams of this process together. */
  nextTurn?: () => number
}) {
  const { nextTurn = createTurns(PIECES_PER_SECOND_MAX) } = deps

  /** The stream of a claimed job; null when its answer is wanted in one piece. */
  function open(claim: Claim, hold: Hold): RunStream | null {
    if (!isStreamed(claim)) return null
    const stream = deps.streamOf(claim.subject.tenant, claim.id)
    return writeTo(stream, claim, hold)
  }

  // One append is under way at a time; what comes meanwhile goes with the next, so that a slow Redis makes larger pieces.
  function writeTo(stream: JobStream, claim: Claim, hold: Hold): RunStream {
    const pending: Uint8Array[] = []
    let number = 0
    let startedMs: number | null = null
    let flushing: Promise<void> | null = null
    const hurry = createBell()

    // Made of what was pending, and not in Redis yet.
    let piece: StreamPiece | null = null
    let isFinishing = false
    let isFenced = false
    // Nothing comes any more that could go along.
    let isLast = false
    const isStopped = () => isFenced || (hold.reason() !== null && !isFinishing)

    async function flush(): Promise<void> {
      while ((piece || pending.length > 0) && !isStopped()) {
        const waitMs = nextTurn()
        // The first token is waited for, and the end.
        if (number > 0 && !isLast && waitMs >= TURN_MS_MIN) await hurry.wait(waitMs)
        const next = (piece ??= takePiece())
        const said = await persist(
          () => stream.append(claim.token, next, keptMs(claim, deps.resultRetentionMs)),
          isStopped,
        )
        piece = null
        if (said === 'appended') continue
        isFenced = true
        deps.lose(claim.id)
      }
    }

    function takePiece(): StreamPiece {
      number += 1
      return { number, bytes: Buffer.concat(pending.splice(0, countOfPiece(pending))) }
    }

    return {
      write(events) {
        startedMs ??= Date.now()
        pending.push(events)
        flushing ??= flush()
          // Stopped while Redis was away: whoever stopped it tells the end.
          .catch(() => undefined)
          .finally(() => (flushing = null))
      },
      isStarted: () => number > 0,
      startedMs: () => startedMs,
      async flushed() {
        isLast = true
        hurry.ring()
        for (let last = flushing; last; last = flushing) await last
      },
      async finish() {
        isFinishing = true
        await this.flushed()
        // What stopped before it was known that this is the end.
        await flush().catch(() => undefined)
        return isFenced || piece || pending.length > 0 ? TORN : number
      },
    }
  }

  /** What is left of the answer that an earlier claim had begun to pass on; null when there was none. */
  async function remains(claim: Claim): Promise<Remains | null> {
    const endpoint = endpointAt(claim.meta.endpoint)
    if (!claim.hasStreamed || !endpoint) return null
    const pieces = await deps.streamOf(claim.subject.tenant, claim.id).readAll()
    const events = createEventStream(endpoint.name, { write: () => undefined })
    for (const { bytes } of pieces) events.take(bytes)
    const partial = events.partial()
    const end = events.end()
    if (end.kind !== 'whole') return { kind: 'partial', partial }
    const { whole, body } = end
    const known = { requestId: null, headers: {}, restMs: null }
    const reply = { ...known, status: 200, body, usage: readUsage(whole), isFiltered: isFiltered(whole) }
    return { kind: 'whole', reply, pieces: pieces.length }
  }

  return { open, remains }
}

export type Streaming = ReturnType<typeof createStreaming>

// How many of the writes that wait go together. A single one may be larger: events are not divided.
function countOfPiece(pending: readonly Uint8Array[]): number {
  let sizeBytes = 0
  const last = pending.findIndex(({ length }) => (sizeBytes += length) >= PIECE_BYTES_MAX)
  return last === -1 ? pending.length : last + 1
}

function isStreamed({ body, meta }: Claim): boolean {
  return body['stream'] === true && endpointAt(meta.endpoint)?.canStream === true
}

/** As long as the record will be, at least: from its latest possible end on, and a minute for the steps between. */
function keptMs({ deadline, meta, subject }: Claim, resultRetentionMs: number): number {
  const leftMs = Math.max(0, deadline - Date.now())
  const retentionMs = Math.max(meta.resultTtlMs, subject.hasWebhook ? resultRetentionMs : 0)
  return leftMs + retentionMs + KEPT_MS_MIN
}
