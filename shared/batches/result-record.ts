import type { LineMeta, LineOutcome, LineResult } from './batch-results.ts'
import type { RecordSealer } from '../seal.ts'

/**
 * A record of a result log: length of what is sealed (u32), line (u32), and sealed for this line: length of the meta (u32),
 * the meta as JSON, the text. Big endian.
 */
export const RECORD_HEAD_BYTES = 8
const META_HEAD_BYTES = 4

// No answer is longer than a body may be, by far; more than this is no length.
const SEALED_BYTES_MAX = 0x4000_0000

/** A record as it lies in a log. */
export type SealedResult = { line: number; sealed: Buffer }

/** Makes a record. */
export function sealRecord(sealer: RecordSealer, { line, outcome, meta, text }: LineResult): Buffer {
  const told = JSON.stringify({ outcome, ...meta })
  const toldBytes = Buffer.byteLength(told)
  const plain = Buffer.allocUnsafe(META_HEAD_BYTES + toldBytes + text.length)
  plain.writeUInt32BE(toldBytes, 0)
  plain.write(told, META_HEAD_BYTES)
  text.copy(plain, META_HEAD_BYTES + toldBytes)
  const sealed = sealer.seal(fieldOf(line), plain)
  const head = Buffer.allocUnsafe(RECORD_HEAD_BYTES)
  head.writeUInt32BE(sealed.length, 0)
  head.writeUInt32BE(line, 4)
  return Buffer.concat([head, sealed])
}

/** @throws {SealError} when it was changed, or made for another batch or line. */
export function openRecord(sealer: RecordSealer, { line, sealed }: SealedResult): LineResult {
  const plain = sealer.open(fieldOf(line), sealed)
  const metaEnd = META_HEAD_BYTES + plain.readUInt32BE(0)
  // Sealed above.
  const { outcome, ...meta } = JSON.parse(plain.toString('utf8', META_HEAD_BYTES, metaEnd)) as LineMeta & {
    outcome: LineOutcome
  }
  return { line, outcome, meta, text: plain.subarray(metaEnd) }
}

/** Bytes of the record that begins at `at`; null when its head is not there, or is none. */
export function recordBytes(bytes: Buffer, at: number): number | null {
  if (bytes.length < at + RECORD_HEAD_BYTES) return null
  const sealedBytes = bytes.readUInt32BE(at)
  return sealedBytes === 0 || sealedBytes > SEALED_BYTES_MAX ? null : RECORD_HEAD_BYTES + sealedBytes
}

/** The record that begins at `at`; null when not all of it is there. */
export function recordAt(bytes: Buffer, at: number): SealedResult | null {
  const length = recordBytes(bytes, at)
  if (length === null || bytes.length < at + length) return null
  return { line: bytes.readUInt32BE(at + 4), sealed: bytes.subarray(at + RECORD_HEAD_BYTES, at + length) }
}

/** The whole records that bytes begin with, each with where it begins; it ends where none does. One is held at a time. */
export async function* readRecords(
  source: AsyncIterable<Buffer>,
  from: number,
): AsyncGenerator<SealedResult & { offset: number }> {
  let [held, heldBytes, wanted, offset] = [[] as Buffer[], 0, RECORD_HEAD_BYTES, from]
  for await (const piece of source) {
    held.push(piece)
    heldBytes += piece.length
    if (heldBytes < wanted) continue
    let bytes = Buffer.concat(held)
    for (let record = recordAt(bytes, 0); record; record = recordAt(bytes, 0)) {
      yield { ...record, offset }
      const length = RECORD_HEAD_BYTES + record.sealed.length
      offset += length
      bytes = bytes.subarray(length)
    }
    ;[held, heldBytes] = [[bytes], bytes.length]
    const next = recordBytes(bytes, 0)
    if (next === null && bytes.length >= RECORD_HEAD_BYTES) return
    wanted = next ?? RECORD_HEAD_BYTES
  }
}

function fieldOf(line: number): string {
  return `result:${line}`
}
