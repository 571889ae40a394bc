import type { Redis } from 'ioredis'
import { SealError } from '../errors.ts'
import { LIST_FIELDS, parseRecord, type JobView } from './job-record.ts'
import type { Keys } from '../keys.ts'
import type { Job } from '../schemas/job.ts'
import type { Sealer } from '../seal.ts'

// A filter that matches nothing must not walk through all that a tenant ever submitted.
const EXAMINED_MAX = 10_000

export type JobFilter = {
  status?: string
  endpoint?: string
  model?: string
  customer?: string
  metadata?: Record<string, string>
  /** Whatever else a job must be. */
  isMeant?: (job: Job) => boolean
  /** Unix seconds. */
  createdAfter?: number
  createdBefore?: number
  /** Job id after, or before, which the page starts. */
  after?: string
  before?: string
  limit: number
  order: 'asc' | 'desc'
}

/** `goOnFrom`: the job looked at last when the search was cut off, which the next page starts from; else null. */
export type JobPage = { jobs: Job[]; hasMore: boolean; goOnFrom: string | null }

/** Makes the reader of a tenant's jobs in pages. */
export function createJobPages(deps: { redis: Redis; keys: Keys; sealer: Sealer }) {
  const { redis, keys, sealer } = deps

  /**
   * Reads a page of a tenant's jobs, newest first unless asked otherwise, without their results. It looks at no more than
   * 10,000 jobs, and at no further ones once `signal` aborts.
   * @returns null when `after` or `before` names no job of the tenant.
   */
  async function list(tenant: string, filter: JobFilter, signal?: AbortSignal): Promise<JobPage | null> {
    const index = keys.index(tenant)
    const cursor = filter.after ?? filter.before
    const rank = await rankOf(index, cursor, filter.order)
    if (rank === null) return null
    const found: Job[] = []
    const isForward = filter.before === undefined
    let at = isForward ? rank : rank - 2
    let examined = 0
    let lastExamined: string | null = null
    // Pages of the index are read until enough of them match; `before` walks the other way.
    while (found.length <= filter.limit) {
      if (examined >= EXAMINED_MAX || signal?.aborted) {
        return { jobs: isForward ? found : found.toReversed(), hasMore: true, goOnFrom: lastExamined }
      }
      const size = 200
      const from = isForward ? at : Math.max(0, at - size + 1)
      const to = isForward ? at + size - 1 : at
      if (to < 0) break
      const ids =
        filter.order === 'desc'
          ? await redis.zrevrange(index, from, to)
          : await redis.zrange(index, `${from}`, `${to}`)
      if (ids.length === 0) break
      const walked = isForward ? ids : ids.toReversed()
      const { jobs, gone } = await readListed(tenant, walked)
      found.push(...jobs.filter((job) => matches(job, filter)))
      examined += ids.length
      lastExamined = jobs.at(-1)?.id ?? lastExamined
      // What is gone was taken out of the index: all that stands behind it has moved up.
      at = isForward ? to + 1 - gone : from - 1
    }
    const page = found.slice(0, filter.limit)
    const hasMore = found.length > filter.limit
    return { jobs: isForward ? page : page.toReversed(), hasMore, goOnFrom: null }
  }

  // Position in the index at which a page starts: one past the cursor.
  async function rankOf(
    index: string,
    cursor: string | undefined,
    order: 'asc' | 'desc',
  ): Promise<number | null> {
    if (cursor === undefined) return 0
    const rank = order === 'desc' ? await redis.zrevrank(index, cursor) : await redis.zrank(index, cursor)
    return rank === null ? null : rank + 1
  }

  async function readListed(tenant: string, ids: readonly string[]): Promise<{ jobs: Job[]; gone: number }> {
    const records = await Promise.all(ids.map((id) => redis.hmgetBuffer(keys.job(id), ...LIST_FIELDS)))
    const gone = ids.filter((_, position) => !records[position]?.[0])
    if (gone.length > 0) await redis.zrem(keys.index(tenant), ...gone)
    const jobs = ids.flatMap((id, position) => {
      const view = parseListed(id, records[position] ?? [])
      return view && view.tenant === tenant ? [view.job] : []
    })
    return { jobs, gone: gone.length }
  }

  // Nothing of a list but the error is sealed: one that does not open must not hide all the other jobs.
  function parseListed(id: string, fields: readonly (Buffer | null)[]): JobView | null {
    try {
      return parseRecord(id, fields, sealer)
    } catch (error) {
      if (!(error instanceof SealError)) throw error
      const plain = fields.map((field, position) => (LIST_FIELDS[position] === 'error' ? null : field))
      return parseRecord(id, plain, sealer)
    }
  }

  return list
}

function matches(job: Job, filter: JobFilter): boolean {
  const { status, endpoint, model, customer, metadata, createdAfter, createdBefore, isMeant } = filter
  if (isMeant && !isMeant(job)) return false
  if (status !== undefined && job.status !== status) return false
  if (endpoint !== undefined && job.endpoint !== endpoint) return false
  if (model !== undefined && job.model !== model) return false
  if (customer !== undefined && job.customer !== customer) return false
  if (createdAfter !== undefined && job.created_at <= createdAfter) return false
  if (createdBefore !== undefined && job.created_at >= createdBefore) return false
  return Object.entries(metadata ?? {}).every(([key, value]) => job.metadata[key] === value)
}
