import type { FastifyReply } from 'fastify'
import { GoneError, NotFoundError, type GatewayError } from '../shared/errors.ts'
import type { Ids } from '../shared/ids.ts'
import type { JobView } from '../shared/jobs/jobs.ts'
import { formatUsd } from '../shared/routing/prices.ts'
import { noteDelivery } from './delivered.ts'
import { shapeError } from './error-shapes.ts'
import type { Job, JobError } from '../shared/schemas/job.ts'

const RETRY_AFTER_S = 2
const POLL_AFTER_MS = 1000

/** Upstream statuses that tell a caller something. Others of 500 and above are a plain bad gateway to him. */
const CLEAR_SERVER_ERRORS: ReadonlySet<number> = new Set([500, 502, 503, 504, 529])

/** What a call fails with, without an answer, when it can't be made as it was asked for. */
const UNSENT: ReadonlySet<string> = new Set(['egress_refused', 'bad_request'])

/** What is safe in a header and reads as it was meant: printable ASCII, no space at either end. */
const PRINTABLE = /^[!-~]([ -~]*[!-~])?$/
const PLAIN_NAME = /^[a-z0-9-]+$/
// Clients give up on answers whose headers are longer than 16 kB in all.
const TEXT_CHARACTERS_MAX = 1_000

const NO_ERROR_NOTED: JobError = {
  message: 'The completion failed.',
  type: 'server_error',
  param: null,
  code: 'upstream_error',
}

/** 404 for an id that is unknown or another tenant's, 410 for one of the tenant's own that was purged. */
export function missingJob(ids: Ids, tenant: string, id: string): GatewayError {
  if (!ids.isOwnJobId(tenant, id)) return new NotFoundError('job')
  return new GoneError('This job has ended and is no longer kept, or was deleted.')
}

/** 202 with the job, and where and when to ask for it. */
export function sendAccepted(reply: FastifyReply, job: Job): FastifyReply {
  noteJob(reply, job)
  void reply.header('location', job.urls.self)
  notePending(reply)
  return reply.code(202).send(job)
}

/** 200 with the job as it stands. @param position Its place in line; null when it stands in none, or nobody looked. */
export function sendJob(reply: FastifyReply, view: JobView, position: number | null = null): FastifyReply {
  const { job, isTerminal } = view
  noteEnd(reply, view)
  if (!isTerminal) notePending(reply)
  return reply.send(position === null ? job : { ...job, queue: { ...job.queue, position } })
}

/**
 * Answers a call for a completion with how its job ended: the provider's bytes with their status, or the error. The
 * gateway has spent its attempts, so no failure asks the SDKs for more.
 */
export function sendCompletion(reply: FastifyReply, view: JobView): FastifyReply {
  noteEnd(reply, view)
  if (view.job.status !== 'completed' || view.result === null) return sendJobError(reply, view)
  return sendBytes(reply, view.result)
}

/** As `sendCompletion`, but a provider's last answer leaves as it came also when it was an error. */
export function sendResult(reply: FastifyReply, view: JobView): FastifyReply {
  noteEnd(reply, view)
  // What a stream had brought before it broke off is in the job, not here: it would pass for the result.
  if (view.result === null || isPart(view)) return sendJobError(reply, view)
  if (view.job.status !== 'completed') void reply.header('x-should-retry', 'false')
  return sendBytes(reply, view.result)
}

function isPart({ job, result }: JobView): boolean {
  return job.status !== 'completed' && result !== null && result.status < 400
}

function sendBytes(reply: FastifyReply, { status, body }: NonNullable<JobView['result']>): FastifyReply {
  // Only JSON is passed on as such; anything else (a proxy's HTML) must not be rendered by whoever looks at it.
  const isJson = body[0] === 0x7b || body[0] === 0x5b
  return reply
    .code(status)
    .type(isJson ? 'application/json' : 'text/plain; charset=utf-8')
    .send(body)
}

function sendJobError(reply: FastifyReply, view: JobView): FastifyReply {
  const status = failureStatus(view)
  const body = shapeError(reply, status, { error: errorOf(view) })
  return reply
    .code(status)
    .header('x-should-retry', 'false')
    .type('application/json; charset=utf-8')
    .send(body)
}

/** Why a job did not complete. */
export function errorOf({ job }: JobView): JobError {
  return job.error ?? NO_ERROR_NOTED
}

/** The HTTP status that says how a job failed. */
function failureStatus({ job, result }: JobView): number {
  if (job.status === 'cancelled') return 409
  if (job.status === 'expired') return 504
  const last = job.attempts.at(-1)
  const status = result?.status ?? last?.status_code ?? null
  if (status !== null && status >= 400 && (status < 500 || CLEAR_SERVER_ERRORS.has(status))) return status
  if (last?.error_class === 'timeout') return 504
  // Refused before it was sent: it is the request that must change.
  if (status === null && UNSENT.has(last?.error_class ?? '')) return 400
  return 502
}

/** The headers that every answer about a job has. */
export function noteJob(reply: FastifyReply, job: Pick<Job, 'id'> & Partial<Job>): void {
  if (job.attempts_made !== undefined) void reply.header('x-job-attempts', String(job.attempts_made))
  void reply
    .header('x-job-id', job.id)
    .header('x-litellm-call-id', job.id)
    .header('openai-processing-ms', String(Math.round(reply.elapsedTime)))
}

/** LiteLLM's headers about the call that ended the job; what is not known is left out. */
function noteEnd(reply: FastifyReply, view: JobView): void {
  const { job, facts, isTerminal } = view
  noteJob(reply, job)
  noteDelivery(reply, view)
  if (isTerminal && job.cost !== null) void reply.header('x-litellm-response-cost', formatUsd(job.cost))
  if (!facts) return
  void reply
    .header('x-litellm-model-id', facts.model_id)
    .header('x-litellm-attempted-retries', String(facts.retries))
    .header('x-litellm-attempted-fallbacks', String(facts.fallbacks))
  const group = headerText(facts.model_group)
  if (group.length <= TEXT_CHARACTERS_MAX) void reply.header('x-litellm-model-group', group)
  for (const [name, value] of Object.entries(facts.headers)) {
    if (PLAIN_NAME.test(name) && PRINTABLE.test(value)) void reply.header(`llm_provider-${name}`, value)
  }
}

// A model group is its config's free text. Node throws at what no header may hold, and clients read the rest as Latin-1.
function headerText(text: string): string {
  return PRINTABLE.test(text) ? text : encodeURIComponent(text.toWellFormed())
}

function notePending(reply: FastifyReply): void {
  void reply
    .header('retry-after', String(RETRY_AFTER_S))
    .header('openai-poll-after-ms', String(POLL_AFTER_MS))
}
