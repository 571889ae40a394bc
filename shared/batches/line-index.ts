const OFFSET_BYTES = 6

/** Bytes of a line in an index: two offsets, big endian. */
export const INDEX_ENTRY_BYTES = 2 * OFFSET_BYTES

/** Where a line begins: its text in the content, and its credentials beside that. */
export type LineOffsets = { text: number; credentials: number }

/** Packs the offsets of all lines, and of the end. */
export function packIndex(lines: readonly LineOffsets[]): Buffer {
  const index = Buffer.allocUnsafe(lines.length * INDEX_ENTRY_BYTES)
  for (const [line, { text, credentials }] of lines.entries()) {
    index.writeUIntBE(text, line * INDEX_ENTRY_BYTES, OFFSET_BYTES)
    index.writeUIntBE(credentials, line * INDEX_ENTRY_BYTES + OFFSET_BYTES, OFFSET_BYTES)
  }
  return index
}

/** Offsets of the line that is number `at` in a part of an index. */
export function offsetsAt(index: Buffer, at: number): LineOffsets {
  const place = at * INDEX_ENTRY_BYTES
  return {
    text: index.readUIntBE(place, OFFSET_BYTES),
    credentials: index.readUIntBE(place + OFFSET_BYTES, OFFSET_BYTES),
  }
}
