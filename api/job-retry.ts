import type { FastifyRequest } from 'fastify'
import { endpointAt } from '../shared/jobs/endpoints.ts'
import { GoneError, InvalidRequestError } from '../shared/errors.ts'
import type { RetrySource } from '../shared/jobs/job-control.ts'
import type { JobInput } from '../shared/jobs/jobs.ts'
import { isBesideBody, isCredential, isSetting, missingPlace } from '../shared/batches/line-fields.ts'
import type { JobRetryRequest } from '../shared/schemas/job-control.ts'
import { JobOptions, TERMINAL_STATUSES } from '../shared/schemas/job.ts'
import { prepareJob, readCustomer, type SubmissionDeps } from './submission.ts'

/** Fields of the gateway that would change what is asked, or that stand elsewhere in a retry. */
const REFUSED: ReadonlySet<string> = new Set(['job', 'extra_body'])

/**
 * A new job of what an ended one asked. What was erased with the old one's end, or may have held a secret, is needed anew;
 * all else is as before unless the call says otherwise, but for the webhook, which was erased too.
 * @throws {InvalidRequestError} with the path of what is wrong.
 */
export async function prepareRetry(
  request: FastifyRequest,
  given: JobRetryRequest,
  source: RetrySource,
  deps: SubmissionDeps,
): Promise<JobInput> {
  const { job, meta, asked } = source
  const body = requestOf(source)
  const { options, fields } = splitRetry(given)
  checkCustomer(request, meta.customer)
  requireErased(meta.erased ?? [], fields)
  const kept = hasCredential(fields) ? withoutCredential(asked) : asked
  const endpoint = endpointAt(meta.endpoint)
  if (!endpoint) throw new GoneError('The endpoint of this job is not served any more.')
  const input = await prepareJob(
    {
      request,
      mode: 'async',
      endpoint,
      path: `/v1/jobs/${job.id}/retry`,
      body: { ...body, ...kept, ...fields },
      customer: meta.customer,
      options: { ...optionsOf(source), ...options },
      bodyPath: '',
      optionsPath: '',
    },
    deps,
  )
  return {
    ...input,
    trace: meta.trace,
    retryOf: job.id,
    ...(source.keepsRequest ? { keepsRequest: true } : {}),
  }
}

function requestOf({ job, request }: RetrySource): Record<string, unknown> {
  if (!TERMINAL_STATUSES.has(job.status)) {
    const message = `This job is ${job.status}: only one that has ended can be retried. Cancel it, or wait for its end.`
    throw new InvalidRequestError(message, null, 'job_not_ended')
  }
  if (job.status !== 'completed' && request !== null) return request
  const message = 'This job has completed, and its prompt is erased: there is nothing to retry.'
  throw new InvalidRequestError(message, null, 'nothing_to_retry')
}

function splitRetry(given: JobRetryRequest): { options: JobOptions; fields: Record<string, unknown> } {
  const entries = Object.entries(given)
  const fields = Object.fromEntries(entries.filter(([name]) => !isOption(name)))
  const foreign = Object.keys(fields).find((name) => !isBesideBody(name) || REFUSED.has(name))
  if (foreign !== undefined) {
    const message = `\`${foreign}\` has no place in this request: a job is run again as it was. What can be given is its options, credentials, and other fields of the gateway's.`
    throw new InvalidRequestError(message, foreign, 'unknown_parameter')
  }
  // The route's schema has checked them.
  const options = Object.fromEntries(entries.filter(([name]) => isOption(name))) as JobOptions
  return { options, fields }
}

function isOption(name: string): boolean {
  return Object.hasOwn(JobOptions.shape, name)
}

/** What the old job was given, as far as it goes on to hold: the times of one that somebody waited for do not. */
function optionsOf({ job, mode, meta }: RetrySource): JobOptions {
  const { endpoints, attemptsMax, onCrash, resultTtlMs, durability } = meta
  const times = {
    expires_in: job.expires_at - (job.not_before ?? job.created_at),
    result_ttl: resultTtlMs / 1000,
  }
  return {
    metadata: job.metadata,
    priority: job.priority,
    max_attempts: attemptsMax,
    on_crash: onCrash,
    ...(endpoints ? { webhook_endpoint_ids: [...endpoints] } : {}),
    ...(durability ? { durability } : {}),
    ...(mode === 'async' ? times : {}),
  }
}

function checkCustomer(request: FastifyRequest, customer: string | null): void {
  const named = readCustomer(request)
  if (named === null || named === customer) return
  const message = 'A retry is of the customer of its job: leave the header out.'
  throw new InvalidRequestError(message, 'x-litellm-customer-id')
}

/** @throws {InvalidRequestError} `credentials_required` unless all that was erased is given anew, or left out in so many words. */
function requireErased(erased: readonly string[], fields: Record<string, unknown>): void {
  const credential = erased.find(isCredential)
  if (credential !== undefined && !hasCredential(fields)) {
    const message = `The credentials of this job were erased when it ended. Give some anew: \`${credential}\`, or others.`
    throw new InvalidRequestError(message, credential, 'credentials_required')
  }
  const place = credential === undefined ? undefined : missingPlace(erased, fields)
  if (place !== undefined) {
    const message = `\`${place}\` was erased with the credentials that went there. Give it anew, or null: then a key goes where its model's provider is.`
    throw new InvalidRequestError(message, place, 'credentials_required')
  }
  const missing = erased.find((name) => isSetting(name) && !Object.hasOwn(fields, name))
  if (missing === undefined) return
  const message = `\`${missing}\` was erased when the job ended, since it may hold credentials. Give it anew, or null to leave it out.`
  throw new InvalidRequestError(message, missing, 'credentials_required')
}

function hasCredential(fields: Record<string, unknown>): boolean {
  return Object.entries(fields).some(([name, value]) => value !== null && isCredential(name))
}

// The stored one that it came with can't stand beside others.
function withoutCredential({ credential: _credential, ...others }: Record<string, unknown>): object {
  return others
}
