import { z } from 'zod'
import {
  Attempt,
  JobError,
  OnCrash,
  TERMINAL_STATUSES,
  Usage,
  type Job,
  type JobStatus,
} from './schemas/job.ts'
import type { Sealer } from './seal.ts'

/** How many attempts a record keeps; the first half and the last half of more. `attempts_made` counts all. */
const ATTEMPTS_KEPT = 40

/** What does not change after submit, kept as one JSON field. */
export const JobMeta = z.object({
  endpoint: z.string(),
  model: z.string(),
  mode: z.enum(['sync', 'async']),
  customer: z.string().nullable(),
  metadata: z.record(z.string(), z.string()),
  priority: z.enum(['high', 'normal', 'low']),
  onCrash: OnCrash,
  warnings: z.array(z.string()),
  notYetActive: z.array(z.string()),
  attemptsMax: z.number(),
  /** How long the record is kept after its end; 0 = until its result was delivered. */
  resultTtlMs: z.number(),
})
export type JobMeta = z.infer<typeof JobMeta>

/** A job with its result, as its owner may see it. */
export type JobView = {
  job: Job
  tenant: string
  mode: 'sync' | 'async'
  isTerminal: boolean
  /** The provider's last answer, byte for byte. */
  result: { status: number; body: Buffer; requestId: string | null } | null
}

const PLAIN_FIELDS = [
  'status', 'tenant', 'owner', 'meta', 'created', 'starts', 'deadline', 'queue_state', 'next_at', 'started',
  'cancelling_at', 'ended', 'expires', 'attempts', 'provider', 'usage', 'status_code', 'request_id', 'idem',
] as const // oxfmt-ignore
const SEALED_FIELDS = ['error', 'out'] as const

/** Names of the hash fields that hold the kept attempts. */
export const ATTEMPT_FIELDS = Array.from({ length: ATTEMPTS_KEPT }, (_, index) => `a${index + 1}`)

/** Hash fields that a list shows; a single read adds the sealed result. */
export const LIST_FIELDS: readonly string[] = [...PLAIN_FIELDS, ...ATTEMPT_FIELDS, 'error']
export const READ_FIELDS: readonly string[] = [...LIST_FIELDS, 'out']

/** The hash field of attempt `number` (1-based): its own for the first 20, a ring of 20 for those after. */
export function attemptField(number: number): string {
  const half = ATTEMPTS_KEPT / 2
  return `a${number <= half ? number : half + 1 + ((number - half - 1) % half)}`
}

/** Parses the attempts out of their fields, in order. An empty field is a call that was noted but never made. */
export function parseAttempts(fields: readonly (Buffer | null)[]): Attempt[] {
  const attempts = fields.flatMap((field) =>
    field?.length ? [Attempt.parse(JSON.parse(field.toString()))] : [],
  )
  return attempts.toSorted((a, b) => a.number - b.number)
}

/**
 * Assembles a job from its hash fields (in the order of `READ_FIELDS` or `LIST_FIELDS`); null when there is no record.
 * @throws {SealError} when its result can't be opened.
 */
export function parseRecord(id: string, fields: readonly (Buffer | null)[], sealer: Sealer): JobView | null {
  const plain = new Map(
    PLAIN_FIELDS.map((name, index) => [name as string, fields[index]?.toString() ?? null]),
  )
  const text = (name: (typeof PLAIN_FIELDS)[number]) => plain.get(name) ?? null
  const seconds = (name: (typeof PLAIN_FIELDS)[number]) => toSeconds(text(name))
  const tenant = text('tenant')
  const meta = text('meta')
  if (tenant === null || meta === null) return null

  const { endpoint, model, mode, customer, metadata, priority, warnings, notYetActive, attemptsMax } =
    JobMeta.parse(JSON.parse(meta))
  const status = text('status') as JobStatus // written by our scripts only
  const isTerminal = TERMINAL_STATUSES.has(status)
  const open = (field: (typeof SEALED_FIELDS)[number], sealed: Buffer | null | undefined) =>
    sealed ? sealer.open({ tenant, kind: 'job', id, field }, sealed) : null
  const attemptsStart = PLAIN_FIELDS.length
  const errorAt = attemptsStart + ATTEMPTS_KEPT
  const error = open('error', fields[errorAt])
  const body = open('out', fields[errorAt + 1])
  const result = body ? { status: Number(text('status_code')), body, requestId: text('request_id') } : null
  const endedAs = (name: JobStatus) => (status === name ? seconds('ended') : null)
  const nextAt = text('next_at')
  const usage = text('usage')
  const starts = seconds('starts') ?? 0
  const job: Job = {
    id,
    object: 'job',
    status,
    endpoint,
    model,
    provider: text('provider'),
    customer,
    created_at: seconds('created') ?? 0,
    not_before: text('starts') === text('created') ? null : starts,
    in_progress_at: seconds('started'),
    completed_at: endedAs('completed'),
    failed_at: endedAs('failed'),
    cancelling_at: seconds('cancelling_at'),
    cancelled_at: endedAs('cancelled'),
    expired_at: endedAs('expired'),
    expires_at: seconds('deadline') ?? 0,
    result_expires_at: seconds('expires'),
    priority,
    queue: {
      name: mode === 'sync' ? 'interactive' : 'default',
      state: isTerminal ? null : (text('queue_state') as Job['queue']['state']), // written by our scripts only
      next_attempt_at: isTerminal || nextAt === null ? null : Number(nextAt) / 1000,
    },
    attempts: parseAttempts(fields.slice(attemptsStart, errorAt)),
    attempts_made: Number(text('attempts') ?? 0),
    attempts_max: attemptsMax,
    usage: usage === null ? null : Usage.parse(JSON.parse(usage)),
    response: result && {
      status_code: result.status,
      request_id: result.requestId,
      body: parseBody(result.body),
    },
    error: error && JobError.parse(JSON.parse(error.toString())),
    metadata,
    warnings,
    not_yet_active: notYetActive,
    urls: { self: `/v1/jobs/${id}`, result: `/v1/jobs/${id}/result`, cancel: `/v1/jobs/${id}/cancel` },
  }
  return { job, tenant, mode, isTerminal, result }
}

function toSeconds(milliseconds: string | null): number | null {
  return milliseconds === null ? null : Math.floor(Number(milliseconds) / 1000)
}

// A provider's body is JSON (anything else was classified as an error); a mock's text may not be.
function parseBody(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString())
  } catch {
    return body.toString()
  }
}
