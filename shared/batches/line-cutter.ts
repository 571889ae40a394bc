const NEWLINE = 0x0a
/** One for all: a file may be made of newlines. */
const EMPTY = Buffer.alloc(0)
/** A client may send byte by byte, and a buffer for each takes hundreds of times as much memory. */
const PARTS_MAX = 1_024

/** A line without its newline; null: it was longer than allowed, and is not kept. */
export type CutLine = Buffer | null

/**
 * Cuts lines out of bytes that come in chunks. Of a line that goes on in the next chunk no more is held than a line may be
 * long.
 */
export function createLineCutter(lineBytesMax: number) {
  let parts: Buffer[] = []
  let length = 0

  function add(part: Buffer): void {
    length += part.length
    if (length > lineBytesMax) parts = []
    else if (part.length > 0) parts.push(part)
    if (parts.length >= PARTS_MAX) parts = [Buffer.concat(parts)]
  }

  function take(): CutLine {
    if (length === 0) return EMPTY
    const [first, ...others] = parts
    const line = length > lineBytesMax ? null : first && others.length === 0 ? first : Buffer.concat(parts)
    parts = []
    length = 0
    return line
  }

  return {
    /** The lines that end in this chunk. */
    *cut(chunk: Buffer): Generator<CutLine> {
      let start = 0
      for (let end = chunk.indexOf(NEWLINE); end !== -1; end = chunk.indexOf(NEWLINE, start)) {
        if (end > start) add(chunk.subarray(start, end))
        start = end + 1
        yield take()
      }
      // A copy: a part of a chunk would keep all of it, and whoever gave it may write to it again.
      add(Buffer.from(chunk.subarray(start)))
    },

    /** The last line, which no newline ended; undefined when there is none. */
    rest(): CutLine | undefined {
      return length === 0 ? undefined : take()
    },
  }
}
