import { constants, zstdCompressSync, zstdDecompressSync } from 'node:zlib'
import { SealError } from './errors.ts'

const LENGTH_BYTES = 4
const KIB = 1024

// Packing 2 KB takes as long as everything else that seals it, or longer. It pays where a body lies and waits, and for
// somebody who holds the line only where it takes much of the memory.
const WORTH_FROM = { async: KIB, sync: 64 * KIB }

// Packing is done in this turn of the event loop, at about 5 ms a megabyte: what takes longer is left as it is, and is mostly
// images in base64, of which a quarter is all that can be saved.
const PACKED_BYTES_MAX = 2 * KIB * KIB

// The fastest one: level 3 saves 2% more of prose, and takes twice as long from 64 KB on.
const LEVEL = { [constants.ZSTD_c_compressionLevel]: 1 }

/** From how many bytes on a body of a job is packed, by whether somebody holds the line for its answer. */
export function packedFrom(mode: 'sync' | 'async'): number {
  return WORTH_FROM[mode]
}

/** Packs a value with zstd, behind its length; null when that is not worth it. */
export function pack(value: string | Uint8Array): Buffer | null {
  const plain = typeof value === 'string' ? Buffer.from(value) : value
  if (plain.length > PACKED_BYTES_MAX) return null
  // With its length known zstd makes no window and tables larger than that, and Node no second buffer.
  const options = { params: LEVEL, pledgedSrcSize: plain.length, chunkSize: plain.length + KIB }
  const frame = zstdCompressSync(plain, options)
  if (LENGTH_BYTES + frame.length > plain.length * 0.9) return null
  const packed = Buffer.allocUnsafe(LENGTH_BYTES + frame.length)
  packed.writeUInt32BE(plain.length)
  packed.set(frame, LENGTH_BYTES)
  return packed
}

/**
 * The value that was packed. It is never longer than it says it is, nor than what is packed at all, whatever its bytes would
 * unpack to.
 * @throws {SealError} for anything that `pack` did not make.
 */
export function unpack(packed: Buffer): Buffer {
  const length = packed.length > LENGTH_BYTES ? packed.readUInt32BE() : 0
  if (length === 0 || length > PACKED_BYTES_MAX) throw damaged()
  const options = { maxOutputLength: length, chunkSize: Math.max(length, KIB) }
  try {
    const plain = zstdDecompressSync(packed.subarray(LENGTH_BYTES), options)
    if (plain.length === length) return plain
  } catch {
    // The same as a wrong length.
  }
  throw damaged()
}

function damaged(): SealError {
  return new SealError('A packed value is damaged.')
}
