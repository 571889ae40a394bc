import type { BatchInputFile, LineKeys } from './batch-input.ts'
import { LINE_KEY_BYTES } from './batch-record.ts'
import { ByteReader } from '../files/byte-reader.ts'
import { SealError } from '../errors.ts'
import type { FileStore } from '../files/file-store.ts'
import { joinLine, openPieces } from './line-credentials.ts'
import { INDEX_ENTRY_BYTES, offsetsAt, type LineOffsets } from './line-index.ts'
import type { RecordSealer, Sealer } from '../seal.ts'
import { readSealedFile } from '../files/sealed-file.ts'

/** A line as text, without its newline, its credentials in their places. */
export type StoredLine = {
  line: number
  /** 1-based row of the file, blank ones counted; only right when all lines are read. */
  row: number
  text: Buffer
  /** `erased`: it had some, and their key is gone or was not given. */
  credentials: 'none' | 'own' | 'erased'
}

type Deps = { store: FileStore; sealer: Sealer }
type Place = { start: LineOffsets; end: LineOffsets }

/** What lies between two lines is rather read than skipped when it is no more than a frame. */
const GAP_BYTES_MAX = 64 * 1024
const KEYS_AT_ONCE = 1_000

/**
 * Reads lines in ascending order. Lines that lie near each other are one read, in which each frame is decrypted once and the
 * next is fetched while a line is worked on.
 */
export async function* readStoredLines(
  deps: Deps,
  file: BatchInputFile,
  { lines, keys }: { lines: readonly number[] | 'all'; keys: LineKeys | null },
): AsyncGenerator<StoredLine> {
  const wanted =
    lines === 'all' ? Array.from({ length: file.lines }, (_, line) => line) : lines.toSorted(ascending)
  const placeOf = await readIndex(deps.store, file, wanted)
  const sealed = deps.sealer.record({ tenant: file.tenant, kind: 'file', id: file.fileId })
  const keyOf = keys && inSlabs(keys, file.lines)
  for (const run of runsOf(wanted, placeOf)) {
    const reader = openRun(deps, file, run, { isAll: lines === 'all', hasKeys: keys !== null })
    try {
      for (const line of wanted.slice(run.from, run.to)) {
        const place = placeOf(line)
        const { row, text } = await reader.text(place)
        const key = isSplit(place) && keyOf ? await keyOf(line) : null
        const pieces = key && tryOpen(sealed, line, key, await reader.envelope(place))
        if (pieces) yield { line, row, text: joinLine(text, pieces), credentials: 'own' }
        else yield { line, row, text, credentials: isSplit(place) ? 'erased' : 'none' }
      }
    } finally {
      await reader.close()
    }
  }
}

// One line's that do not open are as good as erased; the others have nothing to do with that.
function tryOpen(sealed: RecordSealer, line: number, key: Buffer, envelope: Buffer): Buffer | null {
  try {
    return openPieces(sealed, line, key, envelope)
  } catch (error) {
    if (error instanceof SealError) return null
    throw error
  }
}

function ascending(one: number, other: number): number {
  return one - other
}

function isSplit({ start, end }: Place): boolean {
  return end.credentials > start.credentials
}

/** Reads the part of the index that holds these lines, and tells where each of them lies. */
async function readIndex(
  store: FileStore,
  { fileId }: BatchInputFile,
  lines: readonly number[],
): Promise<(line: number) => Place> {
  const first = lines[0] ?? 0
  const last = lines.at(-1)
  const parts: Buffer[] = []
  if (last !== undefined) {
    const range = { from: first * INDEX_ENTRY_BYTES, to: (last + 2) * INDEX_ENTRY_BYTES }
    for await (const part of store.read(`files/${fileId}/index`, range)) parts.push(part)
  }
  const index = Buffer.concat(parts)
  return (line) => ({ start: offsetsAt(index, line - first), end: offsetsAt(index, line - first + 1) })
}

/** Lines that are one read: numbers [from, to) of those that are wanted, and where they begin and end. */
type Run = { from: number; to: number; start: LineOffsets; end: LineOffsets }

function* runsOf(lines: readonly number[], placeOf: (line: number) => Place): Generator<Run> {
  const [first] = lines
  if (first === undefined) return
  let run: Run = { from: 0, to: 0, ...placeOf(first) }
  for (const [number, line] of lines.entries()) {
    const { start, end } = placeOf(line)
    if (start.text - run.end.text > GAP_BYTES_MAX) {
      yield run
      run = { from: number, to: number, start, end }
    }
    run.to = number + 1
    run.end = end
  }
  yield run
}

/** Keys by line, fetched many at once. Lines come in order. */
function inSlabs(keys: LineKeys, lines: number): (line: number) => Promise<Buffer> {
  let slab: Buffer = Buffer.alloc(0)
  let from = 0
  return async (line) => {
    if (line < from || line >= from + slab.length / LINE_KEY_BYTES) {
      slab = await keys(line, Math.min(KEYS_AT_ONCE, lines - line))
      from = line
    }
    const place = (line - from) * LINE_KEY_BYTES
    return slab.subarray(place, place + LINE_KEY_BYTES)
  }
}

/** Reads the lines of one run, one after another. */
function openRun(
  { store, sealer }: Deps,
  { tenant, fileId, bytes, frameBytes }: BatchInputFile,
  { start: first, end: last }: Run,
  { isAll, hasKeys }: { isAll: boolean; hasKeys: boolean },
) {
  // Blank rows before the first line are counted, too.
  const at: LineOffsets = { ...first, text: isAll ? 0 : first.text }
  const file = { tenant, id: fileId, bytes, frameBytes }
  const texts = new ByteReader(readSealedFile(store, file, sealer, { from: at.text, to: last.text }))
  const range = { from: first.credentials, to: last.credentials }
  const envelopes =
    hasKeys && range.to > range.from ? new ByteReader(store.read(`files/${fileId}/credentials`, range)) : null
  let row = 1

  return {
    async text({ start, end }: Place): Promise<{ row: number; text: Buffer }> {
      row += (await texts.takeLine(start.text - at.text)).newlines
      const { text, newlines } = await texts.takeLine(end.text - start.text)
      at.text = end.text
      const found = { row, text }
      row += newlines
      return found
    },

    async envelope({ start, end }: Place): Promise<Buffer> {
      if (!envelopes) throw new Error('Credentials are read without a key.')
      await envelopes.skip(start.credentials - at.credentials)
      at.credentials = end.credentials
      return envelopes.take(end.credentials - start.credentials)
    },

    async close(): Promise<void> {
      await Promise.all([texts.close(), envelopes?.close()])
    },
  }
}
