import type { JobView } from '../shared/jobs/job-record.ts'
import { responseIdOf } from '../shared/jobs/response-ids.ts'
import type { EventType } from '../shared/schemas/webhook.ts'

/** A result above it is not sent along: receivers cap their bodies, and each try would carry it. */
const INCLUDED_RESULT_BYTES_MAX = 256 * 1024

const RESPONSES_PATH = '/v1/responses'

/** What the end of a job is to whoever is told: one event of it, before it has an id. */
export type JobEnd = {
  type: EventType
  /**
   * Its text, in OpenAI's envelope. Nothing in it depends on when it is built, so an end that is announced twice is told in the
   * same bytes.
   */
  format: (id: string, includesResult: boolean) => string
}

/** The events that the end of a job is: the job's own, and of one in the background that makes a response, the response's. */
export function endsOf(view: JobView): JobEnd[] {
  const { job } = view
  const ofJob: JobEnd = {
    type: `job.${job.status}` as EventType, // it has ended
    format: (id, includesResult) =>
      format(view, ofJob.type, id, { id: job.id, object: 'job', status: job.status }, includesResult),
  }
  if (view.mode !== 'async' || job.endpoint !== RESPONSES_PATH) return [ofJob]
  const status = statusOfResponse(view)
  const names = { id: responseIdOf(job.id), object: 'response', status, job: job.id }
  const ofResponse: JobEnd = {
    type: `response.${status}`,
    format: (id, includesResult) => format(view, ofResponse.type, id, names, includesResult),
  }
  return [ofJob, ofResponse]
}

/** OpenAI has no word for a deadline that passed; what came back in whole says itself how it ended. */
function statusOfResponse({ job }: JobView): 'completed' | 'failed' | 'cancelled' | 'incomplete' {
  if (job.status === 'cancelled') return 'cancelled'
  if (job.status !== 'completed') return 'failed'
  const body = job.response?.body
  const said = typeof body === 'object' && body !== null && 'status' in body ? body.status : null
  return said === 'incomplete' || said === 'failed' || said === 'cancelled' ? said : 'completed'
}

function format(
  { job, result }: JobView,
  type: EventType,
  id: string,
  names: object,
  includesResult: boolean,
): string {
  const ended = job.completed_at ?? job.failed_at ?? job.cancelled_at ?? job.expired_at ?? job.created_at
  const isIncluded = includesResult && (result?.body.length ?? 0) <= INCLUDED_RESULT_BYTES_MAX
  return JSON.stringify({
    id,
    object: 'event',
    created_at: ended,
    type,
    data: {
      ...names,
      ...(job.customer === null ? {} : { customer: job.customer }),
      metadata: job.metadata,
      usage: job.usage,
      cost: job.cost,
      ...(job.error ? { error: job.error } : {}),
      ...(result ? (isIncluded ? { result: job.response?.body } : { result_omitted: true }) : {}),
    },
  })
}
