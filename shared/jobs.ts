import type { Redis } from 'ioredis'
import { SealError } from './errors.ts'
import type { Ids } from './ids.ts'
import { LIST_FIELDS, parseRecord, READ_FIELDS, type JobMeta, type JobView } from './job-record.ts'
import type { Keys } from './keys.ts'
import type { Logger } from './log.ts'
import { parseJsonLossless } from './lossless-json.ts'
import type { JobQueue } from './queues.ts'
import type { Job, JobWebhook, OnCrash } from './schemas/job.ts'
import type { CredentialBundle, Plan } from './schemas/plan.ts'
import { createScript } from './scripts.ts'
import type { Sealer } from './seal.ts'
import type { createSettle } from './settle.ts'
import { UNCLAIMED_MS, type Window } from './window.ts'

export type { JobView } from './job-record.ts'

// A filter that matches nothing must not walk through all that a tenant ever submitted.
const EXAMINED_MAX = 10_000

const PRIORITY_CLASSES = { high: 0, normal: 1, low: 2 } as const

/** One accepted completion, before it is stored. */
export type JobInput = {
  id: string
  tenant: string
  customer: string | null
  endpoint: string
  model: string
  /** `sync`: somebody holds the line. */
  mode: 'sync' | 'async'
  plan: Plan
  /** Null for the operator's deployments, whose keys never enter Redis. */
  bundles: CredentialBundle[] | null
  /** Body for the provider, gateway fields taken out. */
  body: Record<string, unknown>
  /** The body is kept as long as the result, for whoever asks what was asked. */
  keepsRequest?: boolean
  webhook: JobWebhook | null
  metadata: Record<string, string>
  priority: 'high' | 'normal' | 'low'
  delayMs: number
  expiresInMs: number
  /** How long the record is kept after its end; 0 = until its result was delivered. */
  resultTtlMs: number
  onCrash: OnCrash
  warnings: string[]
  /** Keyed fingerprints of the idempotency key in its scope, and of the body it came with. */
  idempotency: { fingerprint: string; bodyHash: string } | null
}

export type CreateResult =
  | { kind: 'created'; id: string; createdMs: number }
  | { kind: 'replayed'; id: string }
  | { kind: 'mismatch' }

export type JobFilter = {
  status?: string
  endpoint?: string
  model?: string
  customer?: string
  metadata?: Record<string, string>
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

/** The record store of jobs, as the API uses it: submit, read, list, cancel. A tenant's jobs are reached by tenant and id. */
export function createJobs(deps: {
  redis: Redis
  queue: JobQueue
  keys: Keys
  sealer: Sealer
  ids: Ids
  window: Window
  settle: ReturnType<typeof createSettle>
  log: Logger
  idempotencyRetentionMs: number
}) {
  const { redis, queue, keys, sealer, window, log } = deps
  const createJob = createScript(redis, 'create-job')
  const cancelJob = createScript(redis, 'cancel-job')

  /** Writes the record and gives the job its place. After this returns the job ends, whatever dies. */
  async function create(input: JobInput): Promise<CreateResult> {
    const owner = deps.ids.ownerId(input.tenant, input.customer)
    const { id, tenant, idempotency } = input
    const reply = await createJob(
      [
        keys.job(id), keys.idempotency(idempotency?.fingerprint ?? 'none'), keys.index(tenant), keys.window, keys.busy,
        keys.tenants, keys.owners(tenant), keys.waiting(tenant, owner), keys.due, keys.parked, keys.slots,
      ], // oxfmt-ignore
      [
        '', id, tenant, owner, idempotency?.bodyHash ?? '', deps.idempotencyRetentionMs, input.delayMs, input.expiresInMs,
        PRIORITY_CLASSES[input.priority], UNCLAIMED_MS, ...recordFields(input, sealer),
      ], // oxfmt-ignore
    )
    const [kind, value, createdMs = 0] = reply as [Buffer, Buffer | number, number?] // see the script
    if (kind.toString() === 'mismatch') return { kind: 'mismatch' }
    if (kind.toString() === 'replayed') return { kind: 'replayed', id: String(value) }
    await enqueue(input, Number(value))
    return { kind: 'created', id, createdMs }
  }

  // The record is written: from here on a failure delays the job, the sweeper enqueues it.
  async function enqueue({ id, delayMs }: JobInput, generation: number): Promise<void> {
    try {
      if (generation > 0) await queue.add([{ id, generation }])
      else if (delayMs === 0) await queue.add(await window.feed())
    } catch (error) {
      log.warn({ err: error, job_id: id }, 'A job was accepted but not enqueued; the sweeper will')
    }
  }

  /** The job as it stood when it was created: what a read would have given, without the round trip. */
  function describeCreated(input: JobInput, createdMs: number): Job {
    const starts = String(createdMs + input.delayMs)
    const isDelayed = input.delayMs > 0
    const fields: Record<string, string> = {
      status: 'queued',
      tenant: input.tenant,
      meta: JSON.stringify(metaOf(input)),
      created: String(createdMs),
      starts,
      deadline: String(createdMs + input.delayMs + input.expiresInMs),
      queue_state: isDelayed ? 'delayed' : 'waiting',
      ...(isDelayed ? { next_at: starts } : {}),
    }
    const values = LIST_FIELDS.map((name) => (fields[name] === undefined ? null : Buffer.from(fields[name])))
    const view = parseRecord(input.id, values, sealer)
    if (!view) throw new Error('A created job lacks the fields of one.')
    return view.job
  }

  /** @param fields `LIST_FIELDS` leave out the result, which may be large. */
  async function readRecord(tenant: string, id: string, fields = READ_FIELDS): Promise<JobView | null> {
    const view = parseRecord(id, await redis.hmgetBuffer(keys.job(id), ...fields), sealer)
    return view?.tenant === tenant ? view : null
  }

  /** What was asked, of a job that keeps it; null when there is no such job of the tenant, or it does not. */
  async function readRequest(tenant: string, id: string): Promise<Record<string, unknown> | null> {
    const [owner, kept] = await redis.hmgetBuffer(keys.job(id), 'tenant', 'kept')
    if (owner?.toString() !== tenant || !kept) return null
    const text = sealer.open({ tenant, kind: 'job', id, field: 'kept' }, kept).toString()
    return parseJsonLossless(text) as Record<string, unknown> // an object, as it was written
  }

  /** Forgets an ended job with all it holds, before its time. @returns false while it has not ended. */
  async function forget(tenant: string, id: string): Promise<boolean> {
    return window.forget(id, tenant, { isDue: true })
  }

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

  /**
   * Cancels a job: at once when no worker holds it, else its worker aborts the call and settles it. An ended job stays
   * as it is.
   */
  async function cancel(tenant: string, id: string): Promise<JobView | null> {
    if (!(await readRecord(tenant, id))) return null
    for (;;) {
      const reply = String(await cancelJob([keys.job(id), keys.window], ['', id, keys.cancelChannel]))
      if (reply !== 'free') break
      // A worker may have taken it between the two scripts: then it is that worker which must be told.
      const { result } = await deps.settle.free(id, 'cancelled')
      if (result.kind !== 'held') break
    }
    return readRecord(tenant, id)
  }

  return { create, describeCreated, read: readRecord, readRequest, list, cancel, forget }
}

export type Jobs = ReturnType<typeof createJobs>

function metaOf(input: JobInput): JobMeta {
  return {
    endpoint: input.endpoint,
    model: input.model,
    mode: input.mode,
    customer: input.customer,
    metadata: input.metadata,
    priority: input.priority,
    onCrash: input.onCrash,
    warnings: input.warnings,
    attemptsMax: input.plan.max_attempts,
    resultTtlMs: input.resultTtlMs,
  }
}

function recordFields(input: JobInput, sealer: Sealer): (string | Buffer)[] {
  const sealed = sealer.record({ tenant: input.tenant, kind: 'job', id: input.id })
  const fields: (string | Buffer)[] = [
    'meta',
    JSON.stringify(metaOf(input)),
    'plan',
    JSON.stringify(input.plan),
  ]
  fields.push('req', sealed.seal('req', JSON.stringify(input.body)))
  if (input.keepsRequest) fields.push('kept', sealed.seal('kept', JSON.stringify(input.body)))
  if (input.bundles) fields.push('cred', sealed.seal('cred', JSON.stringify(input.bundles)))
  if (input.webhook) fields.push('hook', sealed.seal('hook', JSON.stringify(input.webhook)))
  if (input.idempotency) fields.push('idem', input.idempotency.fingerprint)
  return fields
}

function matches(job: Job, filter: JobFilter): boolean {
  const { status, endpoint, model, customer, metadata, createdAfter, createdBefore } = filter
  if (status !== undefined && job.status !== status) return false
  if (endpoint !== undefined && job.endpoint !== endpoint) return false
  if (model !== undefined && job.model !== model) return false
  if (customer !== undefined && job.customer !== customer) return false
  if (createdAfter !== undefined && job.created_at <= createdAfter) return false
  if (createdBefore !== undefined && job.created_at >= createdBefore) return false
  return Object.entries(metadata ?? {}).every(([key, value]) => job.metadata[key] === value)
}
