import type { Allowed } from '../tenants/allowed.ts'
import type { Progress } from '../jobs/claims.ts'
import type { KeptPlace } from '../routing/kept-places.ts'
import { roundUsd } from '../routing/prices.ts'
import type { Attempt, QueueState } from '../schemas/job.ts'

/** Random bytes that a line's own credentials are sealed under. */
export const LINE_KEY_BYTES = 32

/** Batch states, in OpenAI's own words. The last four are terminal. */
export type BatchStatus =
  | 'validating'
  | 'in_progress'
  | 'finalizing'
  | 'cancelling'
  | 'completed'
  | 'failed'
  | 'expired'
  | 'cancelled'

/** Why a batch ends without all of its lines having run. */
export type BatchEnding = 'cancelled' | 'expired' | 'max_errors' | 'unreadable'

/** What is wrong with an input; `line` is 1-based. Nothing of the line's content is repeated. */
export type BatchError = { code: string; message: string; param: string | null; line: number | null }

/** What its tenant keeps less long than the gateway would: the record, its files; in seconds, null: it does not. */
export type KeptAtMost = { batchS: number | null; filesS: number | null }

/** What does not change after create, kept as one JSON field. Nothing in it is secret. */
export type BatchMeta = {
  /** A path, or `*` for mixed lines. */
  endpoint: string
  inputFileId: string
  completionWindow: string
  metadata: Record<string, string>
  customer: string | null
  priority: 'high' | 'normal' | 'low'
  concurrency: number | null
  maxErrors: number | null
  isOrdered: boolean
  /** Seconds that output files are kept; null: as all batch files. */
  outputExpiresAfterS: number | null
  keptAtMost?: KeptAtMost
  retryOf: string | null
  /** Where its trace goes on, as of a job. */
  trace?: string | undefined
  /** Webhook endpoints that are told of it; absent: all that want to hear of it. */
  webhookEndpointIds?: readonly string[] | undefined
  warnings: string[]
  /** What the gateway key may ask for that submitted it; absent: anything. */
  allowed?: Allowed
  /** That key's id; absent: the master key. */
  key?: string
  /** It was accepted, and each call of its lines is made, only when that is on the disk of Redis. */
  durability?: 'fsync'
}

/** Sums over settled lines. `cost` in USD, null while none is known. */
export type BatchUsage = { input: number; cached: number; output: number; cost: number | null }

/** A batch, as its owner may see it. Times in Unix milliseconds. */
export type BatchView = BatchMeta & {
  id: string
  tenant: string
  status: BatchStatus
  isTerminal: boolean
  ending: BatchEnding | null
  /** Of a refused input, or why it ended early. */
  errors: BatchError[] | null
  /** When all lines have the same. */
  model: string | null
  createdMs: number
  /** Its deadline. */
  deadlineMs: number
  inProgressMs: number | null
  finalizingMs: number | null
  cancellingMs: number | null
  /** When it reached its terminal state. */
  endedMs: number | null
  /** Until when its record is kept, once it ended. */
  retainedUntilMs: number | null
  /** Lines: all, those in each end, those in flight or about to be, those that wait for a time. */
  total: number
  completed: number
  failed: number
  expired: number
  cancelled: number
  inProgress: number
  parked: number
  usage: BatchUsage
  outputFileId: string | null
  errorFileId: string | null
}

/** What is known of a line that is in flight or parked; written before each call, so that it stays known whatever dies. */
export type LineState = {
  attempts: Attempt[]
  attemptsMade: number
  progress: Progress | null
  /** Claims of it that ended without a word with a call in flight. */
  crashes: number
  queueState: QueueState
  /** While it waits for it. */
  kept?: KeptPlace
}

const TERMINAL: ReadonlySet<string> = new Set(['completed', 'failed', 'expired', 'cancelled'])

/** Hash fields that a batch is read from. */
export const BATCH_FIELDS = [
  'status', 'tenant', 'meta', 'created', 'deadline', 'ending', 'errors', 'model', 'started', 'finalizing_at',
  'cancelling_at', 'ended', 'expires', 'total', 'completed', 'failed', 'expired', 'cancelled', 'inflight', 'input_tokens',
  'cached_tokens', 'output_tokens', 'cost', 'output_file', 'error_file',
] as const // oxfmt-ignore

/** Assembles a batch from `BATCH_FIELDS`; null when there is no record. */
export function parseBatch(id: string, fields: readonly (string | null)[], parked: number): BatchView | null {
  const text = (name: (typeof BATCH_FIELDS)[number]) => fields[BATCH_FIELDS.indexOf(name)] ?? null
  const count = (name: (typeof BATCH_FIELDS)[number]) => Number(text(name) ?? 0)
  const time = (name: (typeof BATCH_FIELDS)[number]) => (text(name) === null ? null : Number(text(name)))
  const [tenant, metaText] = [text('tenant'), text('meta')]
  if (tenant === null || metaText === null) return null
  // Written by our own scripts from values that the API had checked.
  const meta = JSON.parse(metaText) as BatchMeta
  const status = text('status') as BatchStatus
  const ending = text('ending') as BatchEnding | null
  const cost = text('cost')
  return {
    ...meta,
    id,
    tenant,
    status,
    isTerminal: TERMINAL.has(status),
    ending,
    errors: readErrors(text('errors'), ending, meta),
    model: text('model'),
    createdMs: count('created'),
    deadlineMs: count('deadline'),
    inProgressMs: time('started'),
    finalizingMs: time('finalizing_at'),
    cancellingMs: time('cancelling_at'),
    endedMs: time('ended'),
    retainedUntilMs: time('expires'),
    total: count('total'),
    completed: count('completed'),
    failed: count('failed'),
    expired: count('expired'),
    cancelled: count('cancelled'),
    inProgress: count('inflight'),
    parked,
    usage: {
      input: count('input_tokens'),
      cached: count('cached_tokens'),
      output: count('output_tokens'),
      cost: cost === null ? null : roundUsd(Number(cost)),
    },
    outputFileId: text('output_file'),
    errorFileId: text('error_file'),
  }
}

function readErrors(text: string | null, ending: BatchEnding | null, meta: BatchMeta): BatchError[] | null {
  if (text !== null) return JSON.parse(text) as BatchError[]
  if (ending !== 'max_errors') return null
  const message = `More lines failed than the ${meta.maxErrors} that \`max_errors\` allows; the rest was not run. What was done is in the batch's files.`
  return [{ code: 'max_errors_exceeded', message, param: 'max_errors', line: null }]
}

// Of one line: a hundred thousand of them stay below 10^17, up to which Lua writes numbers without an exponent.
const COUNTABLE_MAX = 1e12

/**
 * A figure of a line as it is added up: what a provider claims, and a client's price makes of it, must not get so large that
 * Redis refuses to. '': not known.
 */
export function countable(figure: number | null | undefined): number | '' {
  return figure === null || figure === undefined || Number.isNaN(figure)
    ? ''
    : Math.max(0, Math.min(figure, COUNTABLE_MAX))
}
