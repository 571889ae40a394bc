import type { Redis } from 'ioredis'
import { BATCH_FIELDS, parseBatch, type BatchView } from '../batches/batch-record.ts'
import { isBatchId } from './deliveries.ts'
import { parseRecord, READ_FIELDS, type JobView } from '../jobs/job-record.ts'
import { parseMeta } from '../jobs/record-texts.ts'
import type { Keys } from '../keys.ts'
import { BatchWebhook } from '../schemas/batch.ts'
import { JobWebhook } from '../schemas/job.ts'
import type { Sealer } from '../seal.ts'
import { ENDPOINT_FIELDS, parseEndpoint, type EndpointRecord } from './webhook-endpoint-record.ts'

/** A job that ended, with whom to tell. */
export type EndedJob = {
  view: JobView
  /** Null when it has none, or was announced. */
  webhook: JobWebhook | null
  /** Webhook endpoints that are told of it; undefined: all that want to hear of it. None of a call that had its answer. */
  endpointIds: readonly string[] | undefined
  /** How long its record is kept once its event was accepted, in milliseconds. */
  resultTtlMs: number
  /** Where its trace goes on. */
  trace: string | undefined
}

/** A batch, with whom to tell. */
export type BatchWithHook = {
  view: BatchView
  /** Null when it has none, or its end was announced. */
  webhook: BatchWebhook | null
}

type Deps = { redis: Redis; keys: Keys; sealer: Sealer }

/**
 * Makes the reader of what is to be announced: an ended job or batch, a disabled endpoint; by id alone, since it serves no client.
 * It gives null for what is purged or has not ended.
 * @throws {SealError} when its key is not configured here.
 */
export function createEndedReader(deps: Deps) {
  const { redis, keys, sealer } = deps
  const readBatch = createBatchHookReader(deps)

  async function readEndpoint(id: string): Promise<EndpointRecord | null> {
    return parseEndpoint(id, await redis.hmgetBuffer(keys.endpoint(id), ...ENDPOINT_FIELDS), sealer)
  }

  async function readJob(id: string): Promise<EndedJob | null> {
    const fields = await redis.hmgetBuffer(keys.job(id), 'meta', 'hook', ...READ_FIELDS)
    const [meta, hook] = fields
    const view = parseRecord(id, fields.slice(2), sealer)
    if (!view?.isTerminal || !meta) return null
    const place = { tenant: view.tenant, kind: 'job' as const, id, field: 'hook' }
    const webhook = hook ? JobWebhook.parse(JSON.parse(sealer.open(place, hook).toString())) : null
    const { mode, endpoints, resultTtlMs, trace } = parseMeta(meta.toString())
    return { view, webhook, endpointIds: mode === 'sync' ? [] : endpoints, resultTtlMs, trace }
  }

  return async (
    id: string,
  ): Promise<
    | ({ kind: 'job' } & EndedJob)
    | ({ kind: 'batch' } & BatchWithHook)
    | { kind: 'endpoint'; endpoint: EndpointRecord }
    | null
  > => {
    if (id.startsWith('whe_')) {
      const endpoint = await readEndpoint(id)
      // One that was enabled again meanwhile is no news.
      return endpoint?.disabled ? { kind: 'endpoint', endpoint } : null
    }
    if (isBatchId(id)) {
      const batch = await readBatch(id)
      return batch?.view.isTerminal ? { kind: 'batch', ...batch } : null
    }
    const job = await readJob(id)
    return job && { kind: 'job', ...job }
  }
}

export type ReadEnded = ReturnType<typeof createEndedReader>

/**
 * Makes the reader of a batch with its webhook, by id alone.
 * @throws {SealError} when its key is not configured here.
 */
export function createBatchHookReader({ redis, keys, sealer }: Deps) {
  return async (id: string): Promise<BatchWithHook | null> => {
    const [fields, parked] = await Promise.all([
      redis.hmgetBuffer(keys.batch(id), 'hook', ...BATCH_FIELDS),
      redis.zcard(keys.batchParked(id)),
    ])
    const [hook, ...plain] = fields
    const texts = plain.map((field) => field?.toString() ?? null)
    const view = parseBatch(id, texts, parked)
    if (!view) return null
    const place = { tenant: view.tenant, kind: 'batch' as const, id, field: 'hook' }
    const webhook = hook ? BatchWebhook.parse(JSON.parse(sealer.open(place, hook).toString())) : null
    return { view, webhook }
  }
}

export type ReadBatchHook = ReturnType<typeof createBatchHookReader>
