import type { Redis } from 'ioredis'
import { limitsJson, readRefusal, type Refusal, type Used } from '../tenants/admission.ts'
import type { Admitter } from '../capacity.ts'
import type { Ids } from '../ids.ts'
import { metaOf, recordFields, type JobInput } from './job-input.ts'
import { createJobControl } from './job-control.ts'
import { createJobPages } from './job-pages.ts'
import { LIST_FIELDS, parseRecord, READ_FIELDS, type JobView } from './job-record.ts'
import { formatMeta } from './record-texts.ts'
import type { Keys } from '../keys.ts'
import type { Logger } from '../log.ts'
import { parseJsonLossless } from '../lossless-json.ts'
import { createIntake } from './intake.ts'
import type { JobQueue } from './queues.ts'
import type { Job } from '../schemas/job.ts'
import type { Sealer } from '../seal.ts'
import type { createSettle } from './settle.ts'
import { UNCLAIMED_MS, type Window } from './window.ts'

export type { JobInput } from './job-input.ts'
export type { JobView } from './job-record.ts'

const PRIORITY_CLASSES = { high: 0, normal: 1, low: 2 } as const

export type CreateResult =
  /** `used`: requests of the minute, this one included; zeros when the reply to a first try was lost. */
  | { kind: 'created'; id: string; createdMs: number; used: Used }
  | { kind: 'replayed'; id: string }
  /** It is the same call as before, sent again because its connection broke. */
  | { kind: 'attached'; id: string }
  /** The job that it was to run again is run again already, by this one. */
  | { kind: 'retried'; id: string }
  | { kind: 'mismatch' }
  | { kind: 'refused'; refusal: Refusal }

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
  /** Whether Redis has room. */
  capacity?: Admitter
}) {
  const { redis, keys, sealer, window, capacity } = deps
  const store = createIntake(deps)
  const control = createJobControl(deps)

  /**
   * Writes the record and gives the job its place. After this returns the job ends, whatever dies.
   * @throws {StorageFullError} when Redis has no room for it.
   */
  async function create(input: JobInput): Promise<CreateResult> {
    const owner = deps.ids.ownerId(input.tenant, input.customer)
    const { id, tenant, idempotency, sameCall = null, admission = null } = input
    const idem = keys.idempotency(idempotency?.fingerprint ?? 'none')
    const orphans = keys.orphans(sameCall?.fingerprint ?? 'none')
    await capacity?.checkUnlessThere(sameCall?.isRetry ? [idem, orphans] : [idem])
    const { fields, bytes } = recordFields(input, sealer, owner)
    capacity?.note(bytes + (admission?.resultBytes ?? 0))
    const storeKeys = [
      keys.job(id), idem, keys.index(tenant), keys.window, keys.busy,
      keys.tenants, keys.owners(tenant), keys.waiting(tenant, owner), keys.due, keys.parked, keys.slots,
      keys.concurrency, keys.batchBusy, orphans, keys.job(input.retryOf ?? id),
    ] // oxfmt-ignore
    const args = [
      '', id, tenant, owner, idempotency?.bodyHash ?? '', deps.idempotencyRetentionMs, input.delayMs, input.expiresInMs,
      PRIORITY_CLASSES[input.priority], UNCLAIMED_MS, sameCall ? (sameCall.isRetry ? 'again' : 'register') : '',
      keys.accountPrefix, input.customer === null ? 1 : 2, bytes, admission?.resultBytes ?? 0, admission?.holdMicroUsd ?? 0,
      limitsJson(admission), keys.jobPrefix, ...fields,
    ] // oxfmt-ignore
    const [kind, ...facts] = await store({ id, isDelayed: input.delayMs > 0, keys: storeKeys, args })
    const [value, createdMs, , tenantUsed = 0, customerUsed = 0] = facts
    const said = kind.toString()
    if (said === 'mismatch') return { kind: 'mismatch' }
    if (said === 'replayed' || said === 'attached' || said === 'retried')
      return { kind: said, id: String(value) }
    if (said === 'refused') return { kind: 'refused', refusal: readRefusal(facts) }
    const used = { tenant: Number(tenantUsed), customer: Number(customerUsed) }
    return { kind: 'created', id, createdMs: Number(createdMs), used }
  }

  /** The job as it stood when it was created: what a read would have given, without the round trip. */
  function describeCreated(input: JobInput, createdMs: number): Job {
    const starts = String(createdMs + input.delayMs)
    const fields: Record<string, string> = {
      status: 'queued',
      tenant: input.tenant,
      meta: formatMeta(metaOf(input)),
      created: String(createdMs),
      deadline: String(createdMs + input.delayMs + input.expiresInMs),
      ...(input.delayMs > 0 ? { starts, queue_state: 'delayed', next_at: starts } : {}),
    }
    const values = LIST_FIELDS.map((name) => (fields[name] === undefined ? null : Buffer.from(fields[name])))
    const view = parseRecord(input.id, values, sealer)
    if (!view) throw new Error('A created job lacks the fields of one.')
    return view.job
  }

  /** @param fields `LIST_FIELDS` leave out the result, which may be large. */
  async function readRecord(tenant: string, id: string, fields = READ_FIELDS): Promise<JobView | null> {
    return readTold(tenant, id, await redis.hmgetBuffer(keys.job(id), ...fields))
  }

  /** A job whose fields came along with the message of its end. */
  function readTold(tenant: string, id: string, fields: readonly (Buffer | null)[]): JobView | null {
    const view = parseRecord(id, fields, sealer)
    return view?.tenant === tenant ? view : null
  }

  /** What was asked, of a job that keeps it; null when there is no such job of the tenant, or it does not. */
  async function readRequest(tenant: string, id: string): Promise<Record<string, unknown> | null> {
    const [owner, kept] = await redis.hmgetBuffer(keys.job(id), 'tenant', 'kept')
    if (owner?.toString() !== tenant || !kept) return null
    const text = sealer.open({ tenant, kind: 'job', id, field: 'kept' }, kept).toString()
    return parseJsonLossless(text) as Record<string, unknown> // an object, as it was written
  }

  /** Cancels a job, or leaves an ended one as it is. @returns how it stands then; null when there is none. */
  async function cancel(tenant: string, id: string): Promise<JobView | null> {
    return (await control.cancel(tenant, id)) ? readRecord(tenant, id) : null
  }

  const list = createJobPages(deps)
  return {
    ...control,
    create,
    describeCreated,
    read: readRecord,
    readTold,
    readRequest,
    list,
    cancel,
    release: (id: string) => window.release(id),
  }
}

export type Jobs = ReturnType<typeof createJobs>
