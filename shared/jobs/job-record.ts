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
import { parseAnswer, parseAttempt, parseMeta, parseTokens, formatAttempt } from './record-texts.ts'
import { roundUsd } from '../routing/prices.ts'
import type { Sealer } from '../seal.ts'

/** How many attempts a record keeps: the first half and the last half of more. `attempts_made` counts all. */
const ATTEMPTS_KEPT = 40

/** What does not change after submit, kept as one JSON field. */
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
  /** Names of its request's fields that were, or may have held, credentials: a retry needs them anew. */
  erased?: readonly string[]
}

/** Who answered a job, after how many tries, and what the provider's headers said; written when it ends. */
export type AnswerFacts = {
  /** Deployment id of the last call. */
  model_id: string
  model_group: string
  retries: number
  fallbacks: number
  /** Allow-listed headers of the provider, names in lower case. */
  headers: Record<string, string>
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

const PLAIN_FIELDS = [
  'status', 'tenant', 'owner', 'meta', 'created', 'starts', 'deadline', 'queue_state', 'next_at', 'started',
  'cancelling_at', 'ended', 'expires', 'attempts', 'log', 'usage', 'cost', 'answer', 'status_code',
  'request_id', 'warned', 'pieces', 'retried_by', 'deleted',
] as const // oxfmt-ignore

/** Hash fields that a list shows; a single read adds the sealed result. */
export const LIST_FIELDS: readonly string[] = [...PLAIN_FIELDS, 'error']
export const READ_FIELDS: readonly string[] = [...LIST_FIELDS, 'out']

/** The attempts of a record, in order. A line is an attempt; of two about the same call the later one counts. */
export function parseLog(log: string): Attempt[] {
  const byNumber = new Map<number, Attempt>()
  for (const line of log.split('\n')) {
    if (line === '') continue
    const attempt = parseAttempt(line) // written by formatLog only
    byNumber.set(attempt.number, attempt)
  }
  return [...byNumber.values()].toSorted((a, b) => a.number - b.number)
}

/** Attempts as a record keeps them: the first 20 and the last 20. */
export function keepAttempts(attempts: readonly Attempt[]): Attempt[] {
  const half = ATTEMPTS_KEPT / 2
  return attempts.length <= ATTEMPTS_KEPT
    ? [...attempts]
    : [...attempts.slice(0, half), ...attempts.slice(-half)]
}

/** Attempts as lines, one each. */
export function formatLog(attempts: readonly Attempt[]): string {
  return attempts.map((attempt) => `${formatAttempt(attempt)}\n`).join('')
}

/**
 * Assembles a job from its hash fields (in the order of `READ_FIELDS` or `LIST_FIELDS`); null when there is no record, or its
 * owner deleted it and only its worker has not let go of it yet.
 * @throws {SealError} when its result can't be opened.
 */
export function parseRecord(id: string, fields: readonly (Buffer | null)[], sealer: Sealer): JobView | null {
  const text = (name: (typeof PLAIN_FIELDS)[number]) => fields[PLAIN_FIELDS.indexOf(name)]?.toString() ?? null
  const seconds = (name: (typeof PLAIN_FIELDS)[number]) => toSeconds(text(name))
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
  const result = body ? { status: Number(text('status_code')), body, requestId: text('request_id') } : null
  const endedAs = (name: JobStatus) => (status === name ? seconds('ended') : null)
  const attempts = parseLog(text('log') ?? '').map((attempt) => (isTerminal ? afterEnd(attempt) : attempt))
  const usage = text('usage')
  const warned = JSON.parse(text('warned') ?? '[]') as string[]
  const job: Job = {
    id,
    object: 'job',
    status,
    endpoint: meta.endpoint,
    model: meta.model,
    provider: attempts.at(-1)?.provider ?? null,
    customer: meta.customer,
    created_at: seconds('created') ?? 0,
    not_before: seconds('starts'),
    in_progress_at: seconds('started'),
    completed_at: endedAs('completed'),
    failed_at: endedAs('failed'),
    cancelling_at: seconds('cancelling_at'),
    cancelled_at: endedAs('cancelled'),
    expired_at: endedAs('expired'),
    expires_at: seconds('deadline') ?? 0,
    result_expires_at: seconds('expires'),
    priority: meta.priority,
    queue: queueOf(meta, queueStateOf(status, text('queue_state')), text('next_at')),
    attempts,
    attempts_made: Math.max(Number(text('attempts') ?? 0), attempts.at(-1)?.number ?? 0),
    attempts_max: meta.attemptsMax,
    cost: costOf(text('cost'), attempts),
    usage: usage === null ? null : parseTokens(usage),
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
    warnings: [...meta.warnings, ...warned],
    urls: urlsOf(id),
  }
  const answer = text('answer')
  const facts = answer === null ? null : parseAnswer(answer)
  const pieces = text('pieces')
  return {
    job,
    tenant,
    mode: meta.mode,
    isTerminal,
    resultTtlMs: meta.resultTtlMs,
    result,
    facts,
    pieces: pieces === null ? null : Number(pieces),
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
function costOf(noted: string | null, attempts: readonly Attempt[]): number | null {
  if (noted !== null) return roundUsd(Number(noted))
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

function toSeconds(milliseconds: string | null): number | null {
  return milliseconds === null ? null : Math.floor(Number(milliseconds) / 1000)
}

// A provider's body is JSON (anything else was classified as an error); a mock's text may not be.
function parseBody(body: Buffer): unknown {
  try {
    return parseJsonLossless(body.toString())
  } catch {
    return body.toString()
  }
}
