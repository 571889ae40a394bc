import type { ByteRange, FileStore } from './file-store.ts'
import type { FileView } from './files.ts'
import type { Sealer } from './seal.ts'
import { readSealedFile } from './sealed-file.ts'

/** Bytes [from, to) of a file as its owner reads it, wherever they lie. */
export function readFileContent(
  deps: { store: FileStore; sealer: Sealer },
  file: FileView,
  range: ByteRange = {},
): AsyncIterable<Buffer> {
  const { source } = file
  switch (source.kind) {
    case 'upload':
      return readSealedFile(deps.store, file, deps.sealer, range)
    case 'batch':
      throw new Error('in the works: results of a batch')
  }
}
