import { z } from 'zod'
import { InvalidRequestError } from '../shared/errors.ts'
import type { JobFilter, JobPage } from '../shared/jobs/job-pages.ts'
import { Job, JobStatus } from '../shared/schemas/job.ts'

const UnixSeconds = z.coerce.number().int().min(0)

/** Query of `GET /jobs`. Loose only for `metadata[key]`, which `readJobFilter` takes out. */
export const JobListQuery = z.looseObject({
  after: z.string().optional(),
  before: z.string().optional(),
  limit: z.coerce.number().int().min(1).max(100).default(20),
  order: z.enum(['asc', 'desc']).default('desc'),
  status: JobStatus.optional(),
  endpoint: z.string().optional(),
  model: z.string().optional(),
  customer: z.string().optional(),
  created_after: UnixSeconds.optional(),
  created_before: UnixSeconds.optional(),
})

/** A page of jobs in OpenAI's list shape. */
export const JobList = z.object({
  object: z.literal('list'),
  data: z.array(Job),
  first_id: z.string().nullable(),
  last_id: z.string().nullable(),
  has_more: z.boolean(),
})

/** @throws {InvalidRequestError} for a filter that does not exist, and for `after` together with `before`. */
export function readJobFilter(query: z.infer<typeof JobListQuery>): JobFilter {
  const metadata: Record<string, string> = {}
  for (const [name, value] of Object.entries(query)) {
    if (Object.hasOwn(JobListQuery.shape, name)) continue
    const key = /^metadata\[(.+)\]$/.exec(name)?.[1]
    if (key === undefined || typeof value !== 'string') {
      throw new InvalidRequestError(`Unknown or repeated filter \`${name}\`.`, name, 'unknown_parameter')
    }
    metadata[key] = value
  }
  if (query.after !== undefined && query.before !== undefined) {
    throw new InvalidRequestError('Give `after` or `before`, not both.', 'before')
  }
  const { after, before, limit, order, status, endpoint, model, customer } = query
  return {
    after,
    before,
    limit,
    order,
    status,
    endpoint,
    model,
    customer,
    metadata,
    createdAfter: query.created_after,
    createdBefore: query.created_before,
  }
}

/** A page as it is answered. Where the search was cut off, the end that the next page starts from is the last job looked at. */
export function toJobList({ jobs, hasMore, goOnFrom }: JobPage, filter: JobFilter): z.infer<typeof JobList> {
  const [first, last] = [jobs[0]?.id ?? null, jobs.at(-1)?.id ?? null]
  const isForward = filter.before === undefined
  return {
    object: 'list',
    data: jobs,
    first_id: isForward ? first : (goOnFrom ?? first),
    last_id: isForward ? (goOnFrom ?? last) : last,
    has_more: hasMore,
  }
}
