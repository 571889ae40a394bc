import { isUtf8 } from 'node:buffer'
import { tryReadLine, type FaultyLine, type InputLine } from './batch-lines.ts'
import { readStoredLines, type StoredLine } from './batch-input-lines.ts'
import { LINE_KEY_BYTES } from './batch-record.ts'
import { createBreather } from './breather.ts'
import { InvalidRequestError, TooLargeError } from '../errors.ts'
import type { FileStore } from '../files/file-store.ts'
import { createLineCutter, type CutLine } from './line-cutter.ts'
import { sealPieces, splitLine, unkeptText } from './line-credentials.ts'
import { packIndex, type LineOffsets } from './line-index.ts'
import type { RecordSealer, Sealer } from '../seal.ts'
import { contentName, sealedFrameBytes, sealFrames } from '../files/sealed-file.ts'
import { createSideObject } from './side-object.ts'

/**
 * The input of a batch in the store, in three objects under `files/<id>/`. `content`: the lines as they came, `"[erased]"` in
 * the places of their credentials, sealed in frames. `credentials`: what was cut out of each line, sealed under the file's
 * key and under one of the line's own, which only Redis has. `index`: where each line begins in these two.
 */

export type BatchInputFile = {
  tenant: string
  fileId: string
  /** Of the content. */
  bytes: number
  frameBytes: number
  /** That are not blank. */
  lines: number
}

export type BatchInputLimits = { bytesMax: number; lineBytesMax: number; linesMax: number }

/** Random keys of lines [from, from + count), 32 bytes each, zeros where one was erased. */
export type LineKeys = (from: number, count: number) => Promise<Buffer>

/** One line as text, without its newline. */
type LineText = { line: number; text: Buffer }

type Deps = { store: FileStore; sealer: Sealer }

export type WrittenInput = { bytes: number; frameBytes: number; lines: number; keys: Buffer | null }

const CHUNK_BYTES = 64 * 1024
// Each is a step of its own: a file of nothing else would be many minutes of work.
const BLANK_LINES_MAX = 100_000
const BYTE_ORDER_MARK = Buffer.from('\uFEFF')
const NEWLINE = Buffer.from('\n')
const BLANK = /^[ \t\r]*$/

/** Erases all of an input: content, index and credentials. */
async function removeBatchInput(store: FileStore, fileId: string): Promise<void> {
  await store.remove(`files/${fileId}/`)
}

/**
 * Stores the lines of an input while they come, credentials apart from all else. What a line of no use might hold is not
 * kept: a short text stands for it, which validation knows. Of lines beyond `linesMax` one such text tells.
 * @returns `keys`: 32 bytes a line; null when no line has credentials.
 * @throws {TooLargeError} over `bytesMax`; {InvalidRequestError} for a file of blank lines without end. After any failure nothing is left in the store.
 */
export async function writeBatchInput(
  { store, sealer }: Deps,
  file: { tenant: string; id: string },
  source: AsyncIterable<Uint8Array>,
  limits: BatchInputLimits,
): Promise<WrittenInput> {
  const sealed = sealer.record({ tenant: file.tenant, kind: 'file', id: file.id })
  const side = createSideObject((content) => store.write(`files/${file.id}/credentials`, content))
  const input = createInput(sealed, limits.linesMax, (envelope) => side.add(envelope))
  try {
    await store.write(contentName(file.id), sealFrames(sealed, storedText(source, limits, input)))
    await side.end()
    const { index, bytes, lines, keys } = input.end()
    await store.write(`files/${file.id}/index`, oneChunk(index))
    return { bytes, frameBytes: sealedFrameBytes(sealed), lines, keys }
  } catch (error) {
    await side.abandon(error)
    // What failed is told, not what could not be cleared away because of it.
    await Promise.allSettled([removeBatchInput(store, file.id)])
    throw error
  }
}

// oxlint-disable-next-line typescript/require-await -- the store takes what comes in its time
async function* oneChunk(bytes: Buffer): AsyncIterable<Buffer> {
  yield bytes
}

type Input = ReturnType<typeof createInput>

/** What is known of an input while it is written. */
function createInput(
  sealed: RecordSealer,
  linesMax: number,
  addCredentials: (envelope: Buffer) => Promise<void>,
) {
  const offsets: LineOffsets[] = []
  // All in one: a key for itself keeps alive what its memory was cut from.
  let keys = Buffer.alloc(1_024 * LINE_KEY_BYTES)
  const at: LineOffsets = { text: 0, credentials: 0 }
  let hasKeys = false
  let blanks = 0

  function begin(): number {
    const line = offsets.push({ ...at }) - 1
    if (offsets.length * LINE_KEY_BYTES > keys.length) keys = Buffer.concat([keys], 2 * keys.length)
    return line
  }

  function put(parts: Buffer[], part: Buffer): void {
    parts.push(part)
    at.text += part.length
  }

  return {
    /** No more lines are taken: one more than allowed is enough to refuse them all. */
    isFull: () => offsets.length > linesMax,

    /** Adds what is stored of a line to `parts`. */
    async add(parts: Buffer[], cut: CutLine): Promise<void> {
      if (at.text === 0 && cut?.subarray(0, BYTE_ORDER_MARK.length).equals(BYTE_ORDER_MARK)) {
        put(parts, BYTE_ORDER_MARK)
        return this.add(parts, cut.subarray(BYTE_ORDER_MARK.length))
      }
      // No string is made of a line for that, unless it is a short one.
      if (cut !== null && cut.length < 256 && BLANK.test(cut.toString('latin1'))) {
        blanks += 1
        if (blanks > BLANK_LINES_MAX) throw tooManyBlank()
        return put(parts, cut)
      }
      const line = begin()
      if (offsets.length > linesMax) return put(parts, unkeptText({ code: 'too_many_lines', at: null }))
      if (cut === null) return put(parts, unkeptText({ code: 'line_too_large', at: null }))
      if (!isUtf8(cut)) return put(parts, unkeptText({ code: 'invalid_utf8', at: null }))
      const { stored, pieces } = splitLine(cut)
      put(parts, stored)
      if (!pieces) return
      const { key, envelope } = sealPieces(sealed, line, pieces)
      keys.set(key, line * LINE_KEY_BYTES)
      hasKeys = true
      at.credentials += envelope.length
      await addCredentials(envelope)
    },

    newline: (parts: Buffer[]) => put(parts, NEWLINE),

    end: () => ({
      index: packIndex([...offsets, at]),
      bytes: at.text,
      lines: offsets.length,
      keys: hasKeys ? keys.subarray(0, offsets.length * LINE_KEY_BYTES) : null,
    }),
  }
}

function tooManyBlank(): InvalidRequestError {
  const message = `The file has more than ${BLANK_LINES_MAX} blank lines: leave them out.`
  return new InvalidRequestError(message, 'file', 'too_many_blank_lines')
}

async function* storedText(
  source: AsyncIterable<Uint8Array>,
  { bytesMax, lineBytesMax }: BatchInputLimits,
  input: Input,
): AsyncGenerator<Buffer> {
  const cutter = createLineCutter(lineBytesMax)
  const breather = createBreather()
  let received = 0
  for await (const given of source) {
    received += given.length
    if (received > bytesMax) {
      throw new TooLargeError(`The file is larger than the ${bytesMax} bytes an input of batches may have.`)
    }
    for (let start = 0; start < given.length; start += CHUNK_BYTES) {
      const part = given.subarray(start, start + CHUNK_BYTES)
      const parts: Buffer[] = []
      for (const cut of cutter.cut(Buffer.from(part.buffer, part.byteOffset, part.length))) {
        if (breather.isDue()) await breather.pause()
        // The rest is read to its end all the same: who sends it looks for an answer only then.
        if (input.isFull()) break
        await input.add(parts, cut)
        input.newline(parts)
      }
      if (parts.length > 0) yield Buffer.concat(parts)
    }
  }
  const last = cutter.rest()
  if (last === undefined || input.isFull()) return
  const parts: Buffer[] = []
  await input.add(parts, last)
  yield Buffer.concat(parts)
}

/** Reads inputs of batches. At most a few megabytes are held at once, however large the input. */
export function createBatchInput(deps: Deps) {
  return {
    /**
     * Lines in ascending order as they were sent, with their credentials; null keys: no line has any left. One that
     * validation would refuse comes with its fault.
     */
    async *read(
      file: BatchInputFile,
      lines: Iterable<number>,
      keys: LineKeys | null,
    ): AsyncGenerator<InputLine | FaultyLine> {
      for await (const stored of readStoredLines(deps, file, { lines: [...lines], keys })) {
        yield tryReadLine(stored)
      }
    },

    /** Lines in ascending order as they are stored, `[erased]` in them. */
    async *text(file: BatchInputFile, lines: Iterable<number>): AsyncGenerator<LineText> {
      for await (const { line, text } of readStoredLines(deps, file, { lines: [...lines], keys: null })) {
        yield { line, text }
      }
    },

    /** All lines as texts with their credentials, and in which row of the file they stand. */
    all: (file: BatchInputFile, keys: LineKeys | null): AsyncIterable<StoredLine> =>
      readStoredLines(deps, file, { lines: 'all', keys }),

    /** Erases content, index and credentials. */
    remove: (fileId: string) => removeBatchInput(deps.store, fileId),
  }
}

export type BatchInput = ReturnType<typeof createBatchInput>
