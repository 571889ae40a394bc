import type { BatchPlace, LineResult, OrderEntry } from './batch-results.ts'
import type { ByteRange } from '../files/file-store.ts'
import type { ResultLogs } from './result-log.ts'

// Lines are short: sent one by one, each would cost as much as these together.
const PIECE_BYTES = 64 * 1024

/**
 * The results that these entries name as one file, in their order: bytes [from, to) of it. Only what is in the range is read.
 * @throws {FileGoneError} when a result is not kept any more.
 */
export function readResultFile(
  logs: ResultLogs,
  batch: BatchPlace,
  entries: readonly OrderEntry[],
  { from = 0, to = Infinity }: ByteRange = {},
): AsyncGenerator<Buffer> {
  const wanted: OrderEntry[] = []
  let [start, first] = [0, 0]
  for (const entry of entries) {
    const end = start + entry.length
    if (end > from && start < to) {
      if (wanted.length === 0) first = start
      wanted.push(entry)
    }
    start = end
  }
  return joinTexts(clip(logs.read(batch, wanted), from - first, to - first))
}

/** Texts of results in pieces of some size; a text is never in two of them. */
export async function* joinTexts(results: AsyncIterable<Pick<LineResult, 'text'>>): AsyncGenerator<Buffer> {
  let [texts, bytes] = [[] as Buffer[], 0]
  for await (const { text } of results) {
    texts.push(text)
    bytes += text.length
    if (bytes < PIECE_BYTES) continue
    yield Buffer.concat(texts, bytes)
    ;[texts, bytes] = [[], 0]
  }
  if (bytes > 0) yield Buffer.concat(texts, bytes)
}

async function* clip(results: AsyncIterable<LineResult>, from: number, to: number) {
  let at = 0
  for await (const { text } of results) {
    yield { text: text.subarray(Math.max(0, from - at), Math.max(0, to - at)) }
    at += text.length
  }
}
