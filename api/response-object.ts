import type { JobView } from '../shared/jobs/jobs.ts'
import { parseJsonLossless } from '../shared/lossless-json.ts'
import { echoRequest } from '../shared/jobs/response-echo.ts'
import { responseIdOf } from '../shared/jobs/response-ids.ts'
import type { Job } from '../shared/schemas/job.ts'
import { errorOf } from './job-replies.ts'

type JsonObject = Record<string, unknown>

/** A Response's status by its job's; OpenAI has none for a deadline that passed. */
const STATUSES: Record<Job['status'], string> = {
  queued: 'queued',
  in_progress: 'in_progress',
  cancelling: 'cancelled',
  cancelled: 'cancelled',
  completed: 'completed',
  failed: 'failed',
  expired: 'failed',
}

/**
 * The Response of a job that has brought none: it waits, runs, was cancelled or has failed.
 * @see https://platform.openai.com/docs/api-reference/responses/object
 * @param request What was asked; null when it is not kept.
 */
export function describeResponse(job: Job, request: JsonObject | null, isBackground: boolean): JsonObject {
  const status = STATUSES[job.status]
  const isFailed = status === 'failed'
  return {
    id: responseIdOf(job.id),
    object: 'response',
    created_at: job.created_at,
    status,
    error:
      isFailed && job.error ? { code: job.error.code ?? 'server_error', message: job.error.message } : null,
    incomplete_details: null,
    model: request?.['model'] ?? job.model,
    output: [],
    usage: null,
    ...echoRequest(request ?? {}),
    background: isBackground,
  }
}

/** The Response of a job, as its provider gave it where it did. */
export function responseOf(view: JobView, request: JsonObject | null): JsonObject {
  const { job, result } = view
  const isBackground = view.mode === 'async'
  const told = job.status === 'completed' && result ? parse(result.body) : null
  if (!told) return describeResponse(withError(view), request, isBackground)
  // The provider was never asked to do it in the background: that is ours.
  return isBackground ? { ...told, background: true } : told
}

function withError(view: JobView): Job {
  return { ...view.job, error: view.isTerminal ? errorOf(view) : view.job.error }
}

function parse(body: Buffer): JsonObject | null {
  try {
    return parseJsonLossless(body.toString()) as JsonObject // checked by the worker that stored it
  } catch {
    return null
  }
}
