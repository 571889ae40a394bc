import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import type { FileStore } from '../files/file-store.ts'
import type { Attempt, Usage } from '../schemas/job.ts'
import type { Sealer } from '../seal.ts'

/** How a line can end. The place in this list is the number in an order entry, and stays. */
const OUTCOMES = ['completed', 'failed', 'expired', 'cancelled'] as const
export type LineOutcome = (typeof OUTCOMES)[number]

/** The two files that results are read as. */
export type ResultPart = 'output' | 'error'

/** Whose results they are. */
export type BatchPlace = { tenant: string; id: string }

/** What is known of a line's run beside its text; never a secret, a prompt or a result. */
export type LineMeta = {
  attempts: Attempt[]
  usage: Usage | null
  /** USD; null when it is not known. */
  cost: number | null
  /** As the line asked for it. */
  model: string | null
  /** Unix milliseconds. */
  ended_at: number
}

/** One line's end. `text` is its line of the output or the error file, with the newline. */
export type LineResult = { line: number; outcome: LineOutcome; meta: LineMeta; text: Buffer }

/**
 * Where a settled line's result lies: log number, offset of its record there, and bytes of its text. The entries of a batch,
 * in the order of settling, are the truth: a record that none of them names is a duplicate.
 */
export type OrderEntry = { line: number; outcome: LineOutcome; log: number; offset: number; length: number }

/** Bytes of a packed entry: line (u32), outcome (u8), log (u16), offset (u48), length (u32), all big endian. */
export const ORDER_ENTRY_BYTES = 17

/** The file that a line with this outcome goes to. */
export function partOf(outcome: LineOutcome): ResultPart {
  return outcome === 'completed' ? 'output' : 'error'
}

/** A line's own id, as result lines and lists show it. */
export function lineId(batchId: string, line: number): string {
  return `${linePrefix(batchId)}${line}`
}

/** The line that an id names; null when it is no line's id of this batch. */
export function lineOfId(batchId: string, id: string): number | null {
  const prefix = linePrefix(batchId)
  const number = id.startsWith(prefix) ? id.slice(prefix.length) : ''
  return /^(0|[1-9]\d{0,8})$/.test(number) ? Number(number) : null
}

/** The batch and the line that a line's id names. */
export function readLineId(id: string): { batchId: string; line: number } {
  const end = id.lastIndexOf('_')
  return { batchId: `batch_${id.slice('batch_req_'.length, end)}`, line: Number(id.slice(end + 1)) }
}

/** Whether an id is that of a line of some batch. */
export function isLineId(id: string): boolean {
  return id.startsWith('batch_req_')
}

function linePrefix(batchId: string): string {
  return `batch_req_${batchId.slice(batchId.indexOf('_') + 1)}_`
}

/** An entry as it is kept. */
export function packEntry({ line, outcome, log, offset, length }: OrderEntry): Buffer {
  const packed = Buffer.allocUnsafe(ORDER_ENTRY_BYTES)
  packed.writeUInt32BE(line, 0)
  packed.writeUInt8(OUTCOMES.indexOf(outcome) + 1, 4)
  packed.writeUInt16BE(log, 5)
  packed.writeUIntBE(offset, 7, 6)
  packed.writeUInt32BE(length, 13)
  return packed
}

/** The whole entries among these bytes, in their order. */
export function unpackEntries(packed: Buffer): OrderEntry[] {
  const count = Math.floor(packed.length / ORDER_ENTRY_BYTES)
  return Array.from({ length: count }, (_, index) => unpackEntry(packed, index * ORDER_ENTRY_BYTES))
}

function unpackEntry(packed: Buffer, at: number): OrderEntry {
  const outcome = OUTCOMES[packed.readUInt8(at + 4) - 1]
  if (!outcome) throw new Error(`An order entry has no outcome ${packed.readUInt8(at + 4)}.`)
  return {
    line: packed.readUInt32BE(at),
    outcome,
    log: packed.readUInt16BE(at + 5),
    offset: packed.readUIntBE(at + 7, 6),
    length: packed.readUInt32BE(at + 13),
  }
}

/** Name in the store of the order of a batch that has ended. */
function orderName(batchId: string): string {
  return `batches/${batchId}/order`
}

/** Keeps the order of a batch that ends, sealed. @param packed Entries in the order that its files are to have. */
export async function writeOrder(
  { store, sealer }: { store: FileStore; sealer: Sealer },
  batch: BatchPlace,
  packed: Buffer,
): Promise<void> {
  const sealed = sealer.record({ ...batch, kind: 'batch' }).seal('order', packed)
  await store.write(orderName(batch.id), Readable.from([sealed]))
}

/** The packed order of a batch that has ended. @throws {FileGoneError} when it is not kept any more. */
export async function readOrder(
  { store, sealer }: { store: FileStore; sealer: Sealer },
  batch: BatchPlace,
): Promise<Buffer> {
  const sealed = await buffer(store.read(orderName(batch.id)))
  return sealer.record({ ...batch, kind: 'batch' }).open('order', sealed)
}
