import { partOf, readOrder, unpackEntries, type BatchPlace, type ResultPart } from './batch-results.ts'
import type { ByteRange, FileStore } from '../files/file-store.ts'
import type { FileView } from '../files/files.ts'
import { readResultFile } from './result-file.ts'
import { createResultLogs } from './result-log.ts'
import type { Sealer } from '../seal.ts'
import { readSealedFile } from '../files/sealed-file.ts'

/** Bytes [from, to) of a file as its owner reads it, wherever they lie. */
export function readFileContent(
  deps: { store: FileStore; sealer: Sealer },
  file: FileView,
  range: ByteRange = {},
): AsyncIterable<Buffer> {
  const { tenant, source } = file
  if (source.kind === 'upload') return readSealedFile(deps.store, file, deps.sealer, range)
  return readResults(deps, { tenant, id: source.batchId }, source.part, range)
}

// A batch's output has no bytes of its own: it is told from the logs of its results, in the order that was kept at its end.
async function* readResults(
  deps: { store: FileStore; sealer: Sealer },
  batch: BatchPlace,
  part: ResultPart,
  range: ByteRange,
): AsyncGenerator<Buffer> {
  const order = unpackEntries(await readOrder(deps, batch))
  const entries = order.filter(({ outcome }) => partOf(outcome) === part)
  yield* readResultFile(createResultLogs(deps), batch, entries, range)
}
