import type { Redis } from 'ioredis'
import type { Keys } from '../keys.ts'
import { createScript } from '../scripts.ts'
import type { Sealer } from '../seal.ts'

/** One piece of a streamed answer: complete server-sent events. Numbers start at 1 and have no gap. */
export type StreamPiece = { number: number; bytes: Buffer }

/** The stream of one job's answer. */
export type JobStream = {
  /**
   * Appends one piece for a claim; safe to repeat.
   * @param keptMs How long the stream is kept, from its first piece on.
   * @returns 'fenced' when the claim no longer stands.
   */
  append: (token: string, piece: StreamPiece, keptMs: number) => Promise<'appended' | 'fenced'>
  /** Pieces after a number, in order and without a gap, at most 16. */
  read: (after: number) => Promise<StreamPiece[]>
  /** All that was told so far. */
  readAll: () => Promise<StreamPiece[]>
  /** Opens a piece that was heard. @throws {SealError} when it was made for another job or place. */
  open: (number: number, sealed: Buffer) => Buffer
}

const READ_MAX = 16

/** In place of a number of pieces: not all of the answer was told. */
export const TORN = -1

/**
 * The streams of answers, a Redis stream each, sealed piece by piece and kept as long as the job's result. A worker appends,
 * any API process reads. Reading along live is in stream-listener.ts.
 */
export function createJobStreams(deps: { redis: Redis; keys: Keys; sealer: Sealer }) {
  const { redis, keys } = deps
  const appendStream = createScript(redis, 'append-stream')

  return function streamOf(tenant: string, id: string): JobStream {
    const sealed = deps.sealer.record({ tenant, kind: 'job', id })
    const open = (number: number, piece: Buffer) => sealed.open(fieldOf(number), piece)

    async function read(after: number): Promise<StreamPiece[]> {
      const reply = await redis.callBuffer(
        'XRANGE', keys.stream(id), `(${after}-1`, '+', 'COUNT', READ_MAX,
      ) // oxfmt-ignore
      const entries = reply as [Buffer, [Buffer, Buffer]][] // an id and one field, see the script
      const numbered = entries.map(
        ([entryId, [, piece]]) => [Number.parseInt(entryId.toString(), 10), piece] as const,
      )
      // A Redis that came back without its last seconds leaves a gap; what stands behind it is no continuation.
      const gap = numbered.findIndex(([number], at) => number !== after + 1 + at)
      const told = gap === -1 ? numbered : numbered.slice(0, gap)
      return told.map(([number, piece]) => ({ number, bytes: open(number, piece) }))
    }

    return {
      async append(token, { number, bytes }, keptMs) {
        const piece = sealed.seal(fieldOf(number), bytes)
        const args = [token, number, piece, Math.ceil(keptMs), keys.streamChannel(id)]
        const reply = await appendStream([keys.job(id), keys.stream(id)], args)
        return String(reply) as 'appended' | 'fenced' // see the script
      },
      read,
      async readAll() {
        const all: StreamPiece[] = []
        for (;;) {
          const pieces = await read(all.length)
          all.push(...pieces)
          if (pieces.length < READ_MAX) return all
        }
      },
      open,
    }
  }
}

export type JobStreams = ReturnType<typeof createJobStreams>

function fieldOf(number: number): string {
  return `stream:${number}`
}
