import { once } from 'node:events'
import { PassThrough } from 'node:stream'

const HELD_BYTES_MAX = 256 * 1024

/**
 * An object of the store that is written piece by piece beside another; there is none unless there is a piece.
 * @param write writes all that comes as one object, whole or not at all.
 */
export function createSideObject(write: (content: AsyncIterable<Uint8Array>) => Promise<number>) {
  const stream = new PassThrough({ highWaterMark: HELD_BYTES_MAX })
  let written: Promise<number> | null = null

  function begin(): Promise<number> {
    const writing = write(stream)
    // Its failure is met at the next piece or at the end; before that it is nobody's.
    writing.catch(() => stream.destroy())
    return writing
  }

  return {
    /** Waits while the store is slower than what comes. */
    async add(piece: Buffer): Promise<void> {
      written ??= begin()
      if (stream.destroyed) await written
      if (!stream.write(piece)) await Promise.race([once(stream, 'drain'), written])
    },

    /** Resolves when all of it is in the store. */
    async end(): Promise<void> {
      stream.end()
      await written
    },

    /** Ends it without an object. */
    async abandon(reason: unknown): Promise<void> {
      stream.on('error', () => {})
      stream.destroy(reason instanceof Error ? reason : new Error('It was given up.', { cause: reason }))
      await Promise.allSettled([written])
    },
  }
}
