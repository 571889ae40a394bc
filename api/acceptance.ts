import type { FastifyReply } from 'fastify'
import { ConflictError, GatewayError, IdempotencyMismatchError } from '../shared/errors.ts'
import type { Ids } from '../shared/ids.ts'
import type { CreateResult, JobInput, Jobs } from '../shared/jobs.ts'
import { isRedisOutage, refusedWrite } from '../shared/redis-check.ts'
import { refusalError } from './admission.ts'
import { missingJob, sendAccepted } from './job-replies.ts'

/** Stores a prepared job and answers 202 at once, with the job as it stands. */
export async function acceptAndSend(
  reply: FastifyReply,
  input: JobInput,
  { jobs, ids }: { jobs: Jobs; ids: Ids },
): Promise<FastifyReply> {
  const result = await acceptJob(jobs, input)
  if (result.kind === 'created') return sendAccepted(reply, jobs.describeCreated(input, result.createdMs))
  if (result.kind === 'replayed') void reply.header('idempotent-replayed', 'true')
  const view = await jobs.read(input.tenant, result.id)
  if (!view) throw missingJob(ids, input.tenant, result.id)
  return sendAccepted(reply, view.job)
}

/**
 * Stores a prepared job, or finds the one that its idempotency key stands for.
 * @throws {IdempotencyMismatchError} when the key came with another body before.
 * @throws {ConflictError} when the job that it is to run again was run again before.
 * @throws {GatewayError} 429 when its tenant or customer is at a limit.
 * @throws {UnavailableError} when Redis is away and nothing was stored, or a second try is safe.
 */
export async function acceptJob(
  jobs: Jobs,
  input: JobInput,
): Promise<Exclude<CreateResult, { kind: 'mismatch' | 'refused' | 'retried' }>> {
  const result = await storeOnce('job', input, () => jobs.create(input))
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
  { idempotency }: { idempotency: object | null },
  store: () => Promise<Result>,
): Promise<Result> {
  try {
    return await store()
  } catch (error) {
    if (!isRedisOutage(error) || idempotency !== null || wasNotRun(error)) throw error
    // The script may have run: were the SDKs to send the request again, both could be billed.
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
