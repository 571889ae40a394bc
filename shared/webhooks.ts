import type { Redis } from 'ioredis'
import { parseRecord, READ_FIELDS, type JobMeta, type JobView } from './job-record.ts'
import type { Keys } from './keys.ts'
import { JobWebhook } from './schemas/job.ts'
import type { Sealer } from './seal.ts'

/** A job that ended, with whom to tell. */
export type EndedJob = {
  view: JobView
  /** Null when it has none, or was announced. */
  webhook: JobWebhook | null
  /** How long its record is kept once its event was accepted, in milliseconds. */
  resultTtlMs: number
}

/**
 * Makes the reader of ended jobs that are to be announced; by id alone, since it serves no client.
 * It gives null for a job that is purged or has not ended.
 * @throws {SealError} when its key is not configured here.
 */
export function createEndedReader(deps: { redis: Redis; keys: Keys; sealer: Sealer }) {
  const { redis, keys, sealer } = deps
  return async (jobId: string): Promise<EndedJob | null> => {
    const fields = await redis.hmgetBuffer(keys.job(jobId), 'meta', 'hook', ...READ_FIELDS)
    const [meta, hook] = fields
    const view = parseRecord(jobId, fields.slice(2), sealer)
    if (!view?.isTerminal || !meta) return null
    const place = { tenant: view.tenant, kind: 'job' as const, id: jobId, field: 'hook' }
    const webhook = hook ? JobWebhook.parse(JSON.parse(sealer.open(place, hook).toString())) : null
    return { view, webhook, resultTtlMs: (JSON.parse(meta.toString()) as JobMeta).resultTtlMs }
  }
}

export type ReadEnded = ReturnType<typeof createEndedReader>
