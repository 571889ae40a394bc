import { GatewayError, UnavailableError } from '../shared/errors.ts'
import type { JobFilter } from '../shared/jobs/job-pages.ts'
import type { Jobs } from '../shared/jobs/jobs.ts'
import { isRedisOutage, refusedWrite } from '../shared/redis-check.ts'
import type { BulkCancelRequest, BulkRetryRequest } from '../shared/schemas/job-control.ts'
import type { Job } from '../shared/schemas/job.ts'

const AT_ONCE_MAX = 10

/** What became of the jobs that were matched: `done` of them as was asked. */
export type BulkOutcome = {
  matched: number
  done: number
  failed: { id: string; code: string; message: string }[]
  hasMore: boolean
  lastId: string | null
}

/**
 * Does something with each job of a page that matches, newest first, a few at once.
 * One that can't be done is noted, and the others go on, unless it is a limit or the store that refuses: that would refuse
 * the others too, and they are left for a later call.
 * @param work throws a {@link GatewayError} for a job that it can't be done with.
 * @returns null when `filter.after` names no job of the tenant.
 */
export async function doWithAll(
  jobs: Pick<Jobs, 'list'>,
  { tenant, filter, signal }: { tenant: string; filter: JobFilter; signal: AbortSignal },
  work: (job: Job) => Promise<void>,
): Promise<BulkOutcome | null> {
  const page = await jobs.list(tenant, filter, signal)
  if (!page) return null
  const outcome: BulkOutcome = {
    matched: 0,
    done: 0,
    failed: [],
    hasMore: page.hasMore,
    lastId: page.goOnFrom ?? page.jobs.at(-1)?.id ?? null,
  }
  for (let at = 0; at < page.jobs.length; at += AT_ONCE_MAX) {
    const some = page.jobs.slice(at, at + AT_ONCE_MAX)
    const failures = (await Promise.all(some.map((job) => attempt(job, work)))).flatMap((one) => one ?? [])
    outcome.matched += some.length
    outcome.done += some.length - failures.length
    outcome.failed.push(
      ...failures.map(({ id, error }) => ({ id, code: error.code, message: error.message })),
    )
    const isLast = at + AT_ONCE_MAX >= page.jobs.length
    if (!isLast && (signal.aborted || failures.some(({ error }) => isForAll(error)))) {
      return { ...outcome, hasMore: true, lastId: some.at(-1)?.id ?? null }
    }
  }
  return outcome
}

async function attempt(
  job: Job,
  work: (job: Job) => Promise<void>,
): Promise<{ id: string; error: GatewayError } | null> {
  try {
    await work(job)
    return null
  } catch (error) {
    if (error instanceof GatewayError) return { id: job.id, error }
    // Those that were done before it are to be told of.
    if (isRedisOutage(error) || refusedWrite(error))
      return { id: job.id, error: new UnavailableError(undefined, error) }
    throw error
  }
}

function isForAll({ status }: GatewayError): boolean {
  return status === 429 || status === 503 || status === 507
}

/** The jobs that a bulk cancel is for. */
export function cancelFilter({ filter, limit, after }: BulkCancelRequest): JobFilter {
  const statuses = new Set<string>(filter.status === undefined ? ['queued', 'in_progress'] : [filter.status])
  return { ...filterOf(filter, limit, after), isMeant: ({ status }) => statuses.has(status) }
}

/** The jobs that a bulk retry is for: none that was retried before. */
export function retryFilter({ filter, limit, after }: BulkRetryRequest): JobFilter {
  const statuses = new Set<string>(filter.status === undefined ? ['failed', 'expired'] : [filter.status])
  return {
    ...filterOf(filter, limit, after),
    isMeant: ({ status, retried_by: by }) => statuses.has(status) && by === null,
  }
}

function filterOf(
  { endpoint, model, customer, metadata, ...times }: BulkCancelRequest['filter'] | BulkRetryRequest['filter'],
  limit: number,
  after: string | undefined,
): JobFilter {
  const { created_after: createdAfter, created_before: createdBefore } = times
  return { endpoint, model, customer, metadata, createdAfter, createdBefore, after, limit, order: 'desc' }
}
