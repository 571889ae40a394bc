import type { FastifyReply } from 'fastify'
import { ConflictError, GatewayError, IdempotencyMismatchError } from '../shared/errors.ts'
import type { Ids } from '../shared/ids.ts'
import type { CreateResult, JobInput, Jobs } from '../shared/jobs/jobs.ts'
import { isRedisOutage, refusedWrite } from '../shared/redis-check.ts'
import { refusalError } from './admission.ts'
import type { Caller, Presence } from './presence.ts'
import { missingJob, sendAccepted } from './job-replies.ts'
import { traceSubmit } from './plugins/tracing.ts'
import { tellRequestsLeft } from './rate-limit-headers.ts'

/** Stores a prepared job and answers 202 at once, with the job as it stands. */
export async function acceptAndSend(
  reply: FastifyReply,
  input: JobInput,
  deps: { jobs: Jobs; ids: Ids; presence: Presence },
): Promise<FastifyReply> {
  const { jobs, ids } = deps
  const result = await acceptCall(reply, input, deps)
  if (result.kind === 'created') return sendAccepted(reply, jobs.describeCreated(input, result.createdMs))
  const view = await jobs.read(input.tenant, result.id)
  if (!view) throw missingJob(ids, input.tenant, result.id)
  return sendAccepted(reply, view.job)
}

/**
 * As `acceptJob`, for a call that is answered about its job: tells whether it made it, or got that of the same call before, and
 * notes that its caller is there.
 */
export async function acceptCall(
  reply: FastifyReply,
  input: JobInput,
  { jobs, presence }: { jobs: Jobs; presence: Presence },
): Promise<Accepted & { caller: Caller }> {
  const accepted = await acceptJob(jobs, input, reply)
  const { kind, id } = accepted
  void reply.header('x-job-id', id)
  if (kind === 'replayed') void reply.header('idempotent-replayed', 'true')
  if (kind === 'attached') void reply.header('x-job-attached', 'true')
  return { ...accepted, caller: kind === 'replayed' ? NOBODY : presence.enter(reply, input, id) }
}

/** A job that an idempotency key stands for belongs to no one call. */
const NOBODY: Caller = { noteAnswer: () => undefined }

type Accepted = Exclude<CreateResult, { kind: 'mismatch' | 'refused' | 'retried' }>

/**
 * Stores a prepared job, or finds the one that its idempotency key stands for, or that the same call made before.
 * @param reply Is told how many requests are left, also when this one is refused.
 * @throws {IdempotencyMismatchError} when the key came with another body before.
 * @throws {ConflictError} when the job that it is to run again was run again before.
 * @throws {GatewayError} 429 when its tenant or customer is at a limit.
 * @throws {UnavailableError} when Redis is away and nothing was stored, or a second try is safe.
 */
export async function acceptJob(
  jobs: Jobs,
  input: JobInput,
  reply: FastifyReply | null = null,
): Promise<Accepted> {
  const result = await traceSubmit(reply?.request, 'job', input, (traced) =>
    storeOnce('job', traced, () => jobs.create(traced)),
  )
  if (reply && input.admission) tellRequestsLeft(reply, input.admission, result)
  if (result.kind === 'mismatch') throw new IdempotencyMismatchError()
  if (result.kind === 'retried') {
    const message = `This job is run again already, as ${result.id}. Should that one fail too, retry that one.`
    throw new ConflictError(message, 'already_retried')
  }
  if (result.kind === 'refused') throw refusalError(result.refusal)
  return result
}

/**
 * Stores what a client submits.
 * @throws {UnavailableError} when Redis is away and nothing was stored, or a second try is safe; else an error that no SDK
 * answers with a second try.
 */
export async function storeOnce<Result>(
  noun: 'job' | 'batch',
  { idempotency, sameCall = null }: Pick<JobInput, 'idempotency' | 'sameCall'>,
  store: () => Promise<Result>,
): Promise<Result> {
  try {
    return await store()
  } catch (error) {
    if (!isRedisOutage(error) || idempotency !== null || sameCall !== null || wasNotRun(error)) throw error
    // The script may have run, and the job would not be found again: were the SDKs to send the request again, both could be billed.
    const list = noun === 'job' ? '/v1/jobs' : '/v1/batches'
    const message = `The gateway lost its store while it took the ${noun}, which may or may not run. Look at GET ${list} before you send it again; with an Idempotency-Key a second try is safe.`
    throw new GatewayError(503, 'server_error', 'unavailable', message, { shouldRetry: false, cause: error })
  }
}

function wasNotRun(error: unknown): boolean {
  if (refusedWrite(error) !== null) return true
  return (
    error instanceof Error &&
    /^(Stream isn't writeable|Cluster isn't ready|None of startup nodes)/.test(error.message)
  )
}
