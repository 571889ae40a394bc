import type { InputLine } from './batch-lines.ts'
import type { FileStore } from './file-store.ts'
import type { Sealer } from './seal.ts'

/** An input of batches in the store; `lines` that are not blank. */
export type BatchInputFile = {
  tenant: string
  fileId: string
  bytes: number
  frameBytes: number
  lines: number
}

export type BatchInputLimits = { bytesMax: number; lineBytesMax: number; linesMax: number }

/** Random keys of lines [from, from + count), 32 bytes each, zeros where one was erased. */
export type LineKeys = (from: number, count: number) => Promise<Buffer>

/** One line as text, without its newline. */
export type LineText = { line: number; text: Buffer }

type Deps = { store: FileStore; sealer: Sealer }

/**
 * Stores the lines of an input while they come: credentials apart from the rest, under a key a line.
 * @returns `keys`: 32 bytes a line; null when no line has credentials.
 * @throws {TooLargeError} over `bytesMax`; nothing is left in the store.
 */
export async function writeBatchInput(
  deps: Deps,
  file: { tenant: string; id: string },
  source: AsyncIterable<Uint8Array>,
  limits: BatchInputLimits,
): Promise<{ bytes: number; frameBytes: number; lines: number; keys: Buffer | null }> {
  void [deps, file, source, limits]
  throw new Error('in the works')
}

/** Reads inputs of batches. */
export function createBatchInput(deps: Deps) {
  void deps
  return {
    /** Lines in ascending order, with their credentials; null keys: no line has any. */
    read(file: BatchInputFile, lines: Iterable<number>, keys: LineKeys | null): AsyncIterable<InputLine> {
      void [file, lines, keys]
      throw new Error('in the works')
    },

    /** Lines in ascending order as they are stored, `[erased]` in them. */
    text(file: BatchInputFile, lines: Iterable<number>): AsyncIterable<LineText> {
      void [file, lines]
      throw new Error('in the works')
    },

    /** Erases content, index and credentials. */
    async remove(fileId: string): Promise<void> {
      await deps.store.remove(`files/${fileId}/`)
    },
  }
}

export type BatchInput = ReturnType<typeof createBatchInput>
