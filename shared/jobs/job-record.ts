import { createHash } from 'node:crypto'
import { parseJsonLossless } from '../lossless-json.ts'
import {
  TERMINAL_STATUSES,
  type Attempt,
  type Job,
  type JobError,
  type JobStatus,
  type OnCrash,
  type QueueState,
} from '../schemas/job.ts'
import { parseEnd, parseLog, parseMeta, parseTimes, type AnswerFacts, type JobTimes } from './record-texts.ts'
import { roundUsd } from '../routing/prices.ts'
import type { Sealer } from '../seal.ts'

/** What does not change after submit, kept as one field. */
export type JobMeta = {
  endpoint: string
  model: string
  mode: 'sync' | 'async'
  customer: string | null
  metadata: Record<string, string>
  priority: 'high' | 'normal' | 'low'
  onCrash: OnCrash
  warnings: string[]
  attemptsMax: number
  /** How long the record is kept after its end; 0 = until its result was delivered. */
  resultTtlMs: number
  /** The gateway key that it came with; missing for the master key. */
  key?: string
  /** Webhook endpoints that are told of its end; missing: all that want to hear of it. */
  endpoints?: readonly string[]
  /** The ended job that it runs again. */
  retryOf?: string
  /** Where its trace goes on: a W3C `traceparent`; missing: it was not traced. */
  trace?: string
  /** It was asked for, or its tenant's, to be on the disk of Redis before anybody is told of it. */
  durability?: 'fsync'
  /** Names of its request's fields that were, or may have held, credentials: a retry needs them anew. */
  erased?: readonly string[]
}

/** A job with its result, as its owner may see it. */
export type JobView = {
  job: Job
  tenant: string
  mode: 'sync' | 'async'
  isTerminal: boolean
  /** How long it is kept after its end, in milliseconds; 0: until its result was delivered. */
  resultTtlMs: number
  /** The provider's last answer, byte for byte. */
  result: { status: number; body: Buffer; requestId: string | null } | null
  /** Null when no call was made. */
  facts: AnswerFacts | null
  /** How many pieces the stream of a complete answer has, `TORN` when not all of it was told; null: it was not streamed. */
  pieces: number | null
  /** Changes whenever anything of the job does. */
  readonly version: string
}

// Those of a job that has not ended, and what is noted of one that has, come behind what each ended one has.
const PLAIN_FIELDS = [
  'status', 'tenant', 'meta', 'log', 'deleted', 'expires', 'times', 'end',
  'created', 'starts', 'deadline', 'queue_state', 'next_at', 'started', 'cancelling_at', 'attempts', 'retried_by',
] as const // oxfmt-ignore
const OF_ENDED = PLAIN_FIELDS.indexOf('created')

/** Hash fields that a list shows; a single read adds the sealed result. */
export const LIST_FIELDS: readonly string[] = [...PLAIN_FIELDS, 'error']
export const READ_FIELDS: readonly string[] = [...LIST_FIELDS, 'out']
/** Those of them that a job can have when it ends. */
export const ENDED_FIELDS: readonly string[] = [...PLAIN_FIELDS.slice(0, OF_ENDED), 'error', 'out']

/** The values of `ENDED_FIELDS` as those of `READ_FIELDS`; null when they can't be. */
export function readFieldsOf(ended: readonly (Buffer | null)[]): (Buffer | null)[] | null {
  if (ended.length !== ENDED_FIELDS.length) return null
  const others = PLAIN_FIELDS.slice(OF_ENDED).map(() => null)
  return [...ended.slice(0, OF_ENDED), ...others, ...ended.slice(OF_ENDED)]
}

/**
 * Assembles a job from its hash fields (in the order of `READ_FIELDS` or `LIST_FIELDS`); null when there is no record, or its
 * owner deleted it and only its worker has not let go of it yet.
 * @throws {SealError} when its result can't be opened.
 */
export function parseRecord(id: string, fields: readonly (Buffer | null)[], sealer: Sealer): JobView | null {
  const text: ReadText = (name) => fields[PLAIN_FIELDS.indexOf(name)]?.toString() ?? null
  const [tenant, metaText] = [text('tenant'), text('meta')]
  if (tenant === null || metaText === null || text('deleted') !== null) return null

  // What is not sealed was written by our own scripts from values that the API had checked.
  const meta = parseMeta(metaText)
  const status = text('status') as JobStatus
  const isTerminal = TERMINAL_STATUSES.has(status)
  const sealed = sealer.record({ tenant, kind: 'job', id })
  const [errorField, outField] = fields.slice(PLAIN_FIELDS.length)
  const error = errorField ? sealed.open('error', errorField) : null
  const body = outField ? sealed.open('out', outField) : null
  const end = parseEnd(text('end') ?? '[0]', meta.model)
  const result = body && { status: end.statusCode ?? 0, body, requestId: end.requestId ?? null }
  const times = timesOf(text)
  const endedAs = (name: JobStatus) => (status === name ? toSeconds(times.ended) : null)
  const log = parseLog(text('log') ?? '', meta.model)
  const attempts = isTerminal ? log.map(afterEnd) : log
  const job: Job = {
    id,
    object: 'job',
    status,
    endpoint: meta.endpoint,
    model: meta.model,
    provider: attempts.at(-1)?.provider ?? null,
    customer: meta.customer,
    created_at: toSeconds(times.created),
    not_before: toSeconds(times.starts),
    in_progress_at: toSeconds(times.started),
    completed_at: endedAs('completed'),
    failed_at: endedAs('failed'),
    cancelling_at: toSeconds(times.cancelling),
    cancelled_at: endedAs('cancelled'),
    expired_at: endedAs('expired'),
    expires_at: toSeconds(times.deadline),
    result_expires_at: toSeconds(msOf(text('expires'))),
    priority: meta.priority,
    queue: queueOf(meta, queueStateOf(status, text('queue_state')), text('next_at')),
    attempts,
    attempts_made: Math.max(Number(text('attempts') ?? 0), attempts.at(-1)?.number ?? 0),
    attempts_max: meta.attemptsMax,
    cost: costOf(end.cost, attempts),
    usage: end.usage ?? null,
    // Made when somebody looks: a synchronous call passes the bytes on and never does.
    get response() {
      return (
        result && { status_code: result.status, request_id: result.requestId, body: parseBody(result.body) }
      )
    },
    error: error && (JSON.parse(error.toString()) as JobError),
    metadata: meta.metadata,
    retry_of: meta.retryOf ?? null,
    retried_by: text('retried_by'),
    warnings: [...meta.warnings, ...(end.warnings ?? [])],
    urls: urlsOf(id),
  }
  return {
    job,
    tenant,
    mode: meta.mode,
    isTerminal,
    resultTtlMs: meta.resultTtlMs,
    result,
    facts: end.answer ?? null,
    pieces: end.pieces ?? null,
    get version() {
      return versionOf(fields)
    },
  }
}

// What a result holds never changes; whether there is one does.
function versionOf(fields: readonly (Buffer | null)[]): string {
  const hash = createHash('sha256')
  for (const [at, field] of fields.entries()) {
    const isResult = at >= LIST_FIELDS.length
    hash.update(`${at}:${field?.length ?? ''}:`)
    if (field && !isResult) hash.update(field)
  }
  return hash.digest('base64url').slice(0, 22)
}

function urlsOf(id: string): Job['urls'] {
  const self = `/v1/jobs/${id}`
  return { self, result: `${self}/result`, events: `${self}/events`, cancel: `${self}/cancel` }
}

// A call that was in flight when its job ended by other hands: nobody knows how it went.
function afterEnd(attempt: Attempt): Attempt {
  if (attempt.outcome !== 'in_flight') return attempt
  return { ...attempt, outcome: 'lost', possibly_billed: true }
}

// A job that was settled by other hands than its worker's has no sum of its own.
function costOf(noted: number | undefined, attempts: readonly Attempt[]): number | null {
  if (noted !== undefined) return roundUsd(noted)
  const known = attempts.flatMap(({ cost }) => cost ?? [])
  return known.length === 0 ? null : roundUsd(known.reduce((sum, cost) => sum + cost, 0))
}

// Only why a job waits is written down.
function queueStateOf(status: JobStatus, why: string | null): QueueState | null {
  if (TERMINAL_STATUSES.has(status)) return null
  return status === 'queued' ? ((why ?? 'waiting') as QueueState) : 'active'
}

function queueOf({ mode }: JobMeta, state: QueueState | null, nextAt: string | null): Job['queue'] {
  const isParked = state === 'delayed' || state === 'rate_limited' || state === 'retrying'
  return {
    name: mode === 'sync' ? 'interactive' : 'default',
    state,
    position: null,
    next_attempt_at: isParked && nextAt !== null ? Number(nextAt) / 1000 : null,
  }
}

type ReadText = (name: (typeof PLAIN_FIELDS)[number]) => string | null

function timesOf(text: ReadText): JobTimes {
  const times = text('times')
  if (times !== null) return parseTimes(times)
  return {
    created: msOf(text('created')) ?? 0,
    deadline: msOf(text('deadline')) ?? 0,
    starts: msOf(text('starts')),
    started: msOf(text('started')),
    cancelling: msOf(text('cancelling_at')),
    ended: null,
  }
}

function msOf(text: string | null): number | null {
  return text === null ? null : Number(text)
}

function toSeconds(milliseconds: number): number
function toSeconds(milliseconds: number | null): number | null
function toSeconds(milliseconds: number | null): number | null {
  return milliseconds === null ? null : Math.floor(milliseconds / 1000)
}

// A provider's body is JSON (anything else was classified as an error); a mock's text may not be.
function parseBody(body: Buffer): unknown {
  try {
    return parseJsonLossless(body.toString())
  } catch {
    return body.toString()
  }
}
