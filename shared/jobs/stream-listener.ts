import type { Redis } from 'ioredis'
import { createBell } from '../bell.ts'
import type { JobStream, JobStreams, StreamPiece } from './job-streams.ts'
import type { Keys } from '../keys.ts'

// What a reader has not taken is read again from Redis: no slow client makes a process grow.
const AHEAD_BYTES_MAX = 256 * 1024

/** One reader of one job's stream. */
export type StreamTail = {
  /**
   * The pieces that come next, in order; empty when there are none yet. To be called once, then after each wait: what was
   * heard is there at once, else Redis is asked.
   */
  take: () => Promise<StreamPiece[]>
  /** Number of the last piece that was taken. */
  position: () => number
  /** True when a piece was told, or the bell was rung, since the last wait. */
  wait: (waitMs: number, signal?: AbortSignal) => Promise<boolean>
  /** Ends a wait: something else happened. */
  ring: () => void
  close: () => void
}

type Hear = (number: number, sealed: Buffer) => void

/**
 * Hears the pieces of streams as they are told, over one subscriber connection a process, and gives each reader all of its
 * stream from any place on. A message may be lost: the stream in Redis is the truth, and numbers show the gaps.
 *
 * @param subscriber A connection of its own; the caller closes it.
 */
export function createStreamListener(subscriber: Redis, streamOf: JobStreams, keys: Keys) {
  const hearers = new Map<string, Set<Hear>>()

  subscriber.on('messageBuffer', (channel: Buffer, message: Buffer) => {
    const space = message.indexOf(0x20)
    const number = Number(message.toString('latin1', 0, space))
    for (const hear of hearers.get(channel.toString()) ?? []) hear(number, message.subarray(space + 1))
  })

  function listen(channel: string, hear: Hear): void {
    const all = hearers.get(channel) ?? new Set()
    hearers.set(channel, all.add(hear))
    // Lost with the connection, and taken up again by ioredis; what is missed meanwhile is read on the next look.
    if (all.size === 1) subscriber.subscribe(channel).catch(() => undefined)
  }

  function leave(channel: string, hear: Hear): void {
    const all = hearers.get(channel)
    if (!all?.delete(hear) || all.size > 0) return
    hearers.delete(channel)
    subscriber.unsubscribe(channel).catch(() => undefined)
  }

  /**
   * Reads a job's stream from behind piece `after` on. Opened before the job is made, it hears its first piece as soon as it
   * is told.
   */
  function open(tenant: string, id: string, after = 0): StreamTail {
    const channel = keys.streamChannel(id)
    const bell = createBell()
    const tail = createTail(streamOf(tenant, id), after, bell.ring)
    listen(channel, tail.hear)
    return { ...bell, take: tail.take, position: tail.position, close: () => leave(channel, tail.hear) }
  }

  return { open }
}

export type StreamListener = ReturnType<typeof createStreamListener>

/** Puts what is heard and what is read of one stream together, in order and without gaps. */
function createTail(stream: JobStream, after: number, ring: () => void) {
  let position = after
  let ahead: StreamPiece[] = []
  let aheadBytes = 0
  // A piece was told that is not kept here.
  let isBehind = false

  function hear(number: number, sealed: Buffer): void {
    const isNext = number === (ahead.at(-1)?.number ?? position) + 1
    const bytes = isNext && !isBehind && aheadBytes < AHEAD_BYTES_MAX ? tryOpen(number, sealed) : null
    if (bytes) {
      ahead.push({ number, bytes })
      aheadBytes += bytes.length
    } else if (number > position) isBehind = true
    ring()
  }

  // Nobody could catch it here. Whoever reads the same from Redis is told why it does not open.
  function tryOpen(number: number, sealed: Buffer): Buffer | null {
    try {
      return stream.open(number, sealed)
    } catch {
      return null
    }
  }

  // What was heard while Redis was asked may be among what it gave.
  function advance(pieces: readonly StreamPiece[]): StreamPiece[] {
    const fresh = pieces.filter(({ number }) => number > position)
    position = fresh.at(-1)?.number ?? position
    ahead = ahead.filter(({ number }) => number > position)
    aheadBytes = ahead.reduce((sum, { bytes }) => sum + bytes.length, 0)
    return fresh
  }

  async function read(): Promise<StreamPiece[]> {
    isBehind = false
    const pieces = advance(await stream.read(position))
    // There may be more than one read gives: an empty one shows that there is not.
    if (pieces.length > 1) isBehind = true
    return pieces
  }

  return {
    hear,
    position: () => position,
    take: async (): Promise<StreamPiece[]> => {
      const pieces = ahead.length > 0 ? advance(ahead) : await read()
      if (isBehind) ring()
      return pieces
    },
  }
}
