import type { Redis } from 'ioredis'
import { limitsJson, readRefusal, type Admission, type Refusal, type Used } from '../tenants/admission.ts'
import type { BatchEnds } from './batch-ends.ts'
import { BATCH_FIELDS, parseBatch, type BatchMeta, type BatchView, type LineState } from './batch-record.ts'
import type { BatchQueue } from './batch-queue.ts'
import type { Admitter } from '../capacity.ts'
import { ORDER_ENTRY_BYTES, readOrder, unpackEntries, type OrderEntry } from './batch-results.ts'
import { FileGoneError } from '../errors.ts'
import type { FileStore } from '../files/file-store.ts'
import type { Ids } from '../ids.ts'
import { keptOf, type KeptDefaults } from './kept-defaults.ts'
import type { Keys } from '../keys.ts'
import type { Logger } from '../log.ts'
import { parseJsonLossless } from '../lossless-json.ts'
import { createScript } from '../scripts.ts'
import type { Sealer } from '../seal.ts'
import { UNCLAIMED_MS } from '../jobs/window.ts'

/** A batch, before it is stored. */
export type NewBatch = BatchMeta & {
  id: string
  tenant: string
  /** How long it may take in all. */
  windowMs: number
  /** Laid under each line: credentials and gateway fields of the whole batch. */
  defaults: Record<string, unknown>
  /** As the API read it; sealed at rest. */
  webhook: object | null
  /** Keyed fingerprints of the idempotency key in its scope, and of the body it came with. */
  idempotency: { fingerprint: string; bodyHash: string } | null
  /** What its tenant and customer are limited to; null: nothing. */
  admission?: Admission | null
}

export type CreateBatchResult =
  /** `used`: requests of the minute, this one included; zeros when the reply to a first try was lost. */
  | { kind: 'created'; id: string; createdMs: number; used: Used }
  | { kind: 'replayed'; id: string }
  | { kind: 'mismatch' }
  | { kind: 'refused'; refusal: Refusal }
  /** No such file of the tenant, or not an input for batches. */
  | { kind: 'no_file' | 'wrong_purpose' }
  /** The credentials in its lines were used up by another batch. */
  | { kind: 'credentials_erased' }

export type BatchPage = { batches: BatchView[]; hasMore: boolean }

// Batches made within so long are made at once.
const TURN_MS = 600_000

const PRIORITY_CLASSES = { high: 0, normal: 1, low: 2 } as const

/** The record store of batches, as the API uses it: create, read, list, cancel. A tenant's are reached by tenant and id. */
export function createBatches(deps: {
  redis: Redis
  keys: Keys
  sealer: Sealer
  ids: Ids
  store: FileStore
  queue: BatchQueue
  ends: BatchEnds
  log: Logger
  idempotencyRetentionMs: number
  /** Whether Redis has room. */
  capacity?: Admitter
}) {
  const { redis, keys, sealer, log, capacity } = deps
  const createBatch = createScript(redis, 'create-batch')

  /**
   * Writes the record; after this returns the batch ends, whatever dies.
   * @throws {StorageFullError} when Redis has no room for it.
   */
  async function create(input: NewBatch): Promise<CreateBatchResult> {
    const { id, tenant, windowMs, defaults, webhook, idempotency, admission = null, ...meta } = input
    const idem = keys.idempotency(idempotency?.fingerprint ?? 'none')
    await capacity?.checkUnlessThere([idem])
    const sealed = sealer.record({ tenant, kind: 'batch', id })
    const fields: (string | number | Buffer)[] = ['class', PRIORITY_CLASSES[meta.priority]]
    fields.push('meta', JSON.stringify(meta))
    if (meta.concurrency !== null) fields.push('concurrency', meta.concurrency)
    if (meta.maxErrors !== null) fields.push('errors_max', meta.maxErrors)
    if (Object.keys(defaults).length > 0) {
      fields.push('cred', sealed.seal('cred', JSON.stringify(defaults)))
      fields.push('kept', sealed.seal('kept', JSON.stringify(keptOf(defaults))))
    }
    if (webhook) fields.push('hook', sealed.seal('hook', JSON.stringify(webhook)))
    capacity?.note(0)
    const reply = await createBatch(
      [
        keys.batch(id), keys.batchChunk(id, 'v'), keys.batchWindow, idem,
        keys.batchIndex(tenant), keys.batchDue, keys.file(meta.inputFileId), keys.fileKeys(meta.inputFileId),
      ], // oxfmt-ignore
      [
        '',
        id,
        tenant,
        idempotency?.bodyHash ?? '',
        deps.idempotencyRetentionMs,
        windowMs,
        UNCLAIMED_MS,
        keys.accountPrefix,
        deps.ids.ownerId(tenant, meta.customer),
        meta.customer === null ? 1 : 2,
        limitsJson(admission),
        ...fields,
      ],
    )
    const [said, ...facts] = reply as [Buffer, ...(Buffer | number)[]] // see the script
    const [value, tenantUsed, customerUsed] = facts
    const kind = said.toString()
    if (kind === 'replayed') return { kind, id: String(value) }
    if (kind === 'refused') return { kind, refusal: readRefusal(facts) }
    if (kind !== 'created') return { kind } as CreateBatchResult // the script's own words
    // The record is written: from here on a failure delays the batch, the sweeper enqueues it.
    await enqueueCheck(tenant, id, Number(value)).catch((error: unknown) => {
      log.warn({ err: error, batch_id: id }, 'A batch was accepted but not enqueued; the sweeper will')
    })
    const used = { tenant: Number(tenantUsed), customer: Number(customerUsed) }
    return { kind: 'created', id, createdMs: Number(value), used }
  }

  // Round robin, as far as it can be told beforehand: whoever makes many at once has his second one checked after everybody's
  // first.
  async function enqueueCheck(tenant: string, id: string, createdMs: number): Promise<void> {
    const turn = await redis.zcount(keys.batchIndex(tenant), createdMs - TURN_MS, '+inf')
    await deps.queue.add([{ batchId: id, chunk: 'v', generation: 1 }], turn)
  }

  async function read(tenant: string, id: string): Promise<BatchView | null> {
    const [fields, parked] = await Promise.all([
      redis.hmget(keys.batch(id), ...BATCH_FIELDS),
      redis.zcard(keys.batchParked(id)),
    ])
    const view = parseBatch(id, fields, parked)
    return view?.tenant === tenant ? view : null
  }

  /** Newest first. Null when `after` names no batch of the tenant. */
  async function list(
    tenant: string,
    { after, limit }: { after?: string; limit: number },
  ): Promise<BatchPage | null> {
    const index = keys.batchIndex(tenant)
    const rank = after === undefined ? -1 : await redis.zrevrank(index, after)
    if (rank === null) return null
    const batchIds = await redis.zrevrange(index, rank + 1, rank + 1 + limit)
    const views = await Promise.all(batchIds.slice(0, limit).map((id) => read(tenant, id)))
    return { batches: views.flatMap((view) => view ?? []), hasMore: batchIds.length > limit }
  }

  /** Nothing new of it is started from now on; what is in flight goes on. `ended`: it had ended before. */
  async function cancel(
    tenant: string,
    id: string,
  ): Promise<{ kind: 'stopping' | 'ended'; view: BatchView } | null> {
    const [own, owner] = await redis.hmget(keys.batch(id), 'tenant', 'owner')
    if (own !== tenant) return null
    const kind = await deps.ends.stop({ id, tenant, owner: owner ?? '' }, 'cancelled')
    const view = await read(tenant, id)
    return view && kind !== 'gone' ? { kind, view } : null
  }

  /**
   * Where results lie: those settled so far from the one numbered `from` on, at most `countMax`, and the number to go on
   * from. Sorted by line once a batch that asked for that has ended.
   */
  async function entries(
    tenant: string,
    id: string,
    from = 0,
    countMax = Infinity,
  ): Promise<{ entries: OrderEntry[]; next: number }> {
    const [start, end] = [from * ORDER_ENTRY_BYTES, (from + countMax) * ORDER_ENTRY_BYTES]
    const last = end === Infinity ? -1 : end - 1
    const settled = await redis.getrangeBuffer(keys.batchOrder(id), start, last)
    // What is not in Redis any more was put into the store before it was taken away.
    const isOver = settled.length === 0 && (await hasEnded(tenant, id))
    const packed = isOver ? (await keptOrder(tenant, id)).subarray(start, end) : settled
    const found = unpackEntries(packed)
    return { entries: found, next: from + found.length }
  }

  async function hasEnded(tenant: string, id: string): Promise<boolean> {
    const [own, ended] = await redis.hmget(keys.batch(id), 'tenant', 'ended')
    return own === tenant && typeof ended === 'string'
  }

  // One whose input was refused, or whose files are all deleted, has none.
  async function keptOrder(tenant: string, id: string): Promise<Buffer> {
    try {
      return await readOrder(deps, { tenant, id })
    } catch (error) {
      if (error instanceof FileGoneError) return Buffer.alloc(0)
      throw error
    }
  }

  /** What is known of lines in flight or parked. */
  async function lineStates(tenant: string, id: string): Promise<Map<number, LineState>> {
    if ((await redis.hget(keys.batch(id), 'tenant')) !== tenant) return new Map()
    const all = await redis.hgetall(keys.batchLines(id))
    const lines = Object.entries(all).filter(([name]) => /^\d+$/.test(name))
    return new Map(lines.map(([name, state]) => [Number(name), JSON.parse(state) as LineState]))
  }

  /** What a retry starts from; empty when there were no defaults. */
  async function keptDefaults(tenant: string, id: string): Promise<KeptDefaults> {
    const [own, kept] = await redis.hmgetBuffer(keys.batch(id), 'tenant', 'kept')
    if (own?.toString() !== tenant || !kept) return { defaults: {}, erased: [] }
    const text = sealer.open({ tenant, kind: 'batch', id, field: 'kept' }, kept).toString()
    return parseJsonLossless(text) as KeptDefaults // as it was written
  }

  return { create, read, list, cancel, entries, lineStates, keptDefaults }
}

export type Batches = ReturnType<typeof createBatches>
