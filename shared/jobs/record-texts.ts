import { fromRow, toRow, type RowForm } from './rows.ts'
import type { JobMeta } from './job-record.ts'
import type { Attempt, Usage } from '../schemas/job.ts'

/**
 * How a record writes what it keeps in plain: short, since it is there once a job. What is as with most jobs, or as another text
 * of the same record says, is left out.
 */

const NONE: ReadonlySet<never> = new Set()

const META_NAMES = [
  'model', 'attemptsMax', 'resultTtlMs', 'erased', 'key', 'customer', 'mode', 'endpoint', 'trace', 'metadata', 'priority',
  'onCrash', 'warnings', 'endpoints', 'retryOf', 'durability',
] as const satisfies readonly (keyof JobMeta)[] // oxfmt-ignore
const META: RowForm<keyof JobMeta> = { names: META_NAMES, optional: new Set(META_NAMES) }

const USUAL = {
  endpoint: '/v1/chat/completions',
  mode: 'async' as const,
  customer: null,
  metadata: {},
  priority: 'normal' as const,
  onCrash: 'retry' as const,
  warnings: [],
}

/** What does not change of a job. */
export function formatMeta(meta: JobMeta): string {
  const { endpoint, mode, customer, metadata, priority, onCrash, warnings, ...others } = meta
  const row = toRow(META, {
    ...others,
    ...(endpoint === USUAL.endpoint ? {} : { endpoint }),
    ...(mode === USUAL.mode ? {} : { mode }),
    ...(customer === null ? {} : { customer }),
    ...(Object.keys(metadata).length === 0 ? {} : { metadata }),
    ...(priority === USUAL.priority ? {} : { priority }),
    ...(onCrash === USUAL.onCrash ? {} : { onCrash }),
    ...(warnings.length === 0 ? {} : { warnings }),
  })
  return JSON.stringify(row)
}

/** The same, from its text. */
export function parseMeta(text: string): JobMeta {
  return { ...USUAL, ...fromRow<JobMeta>(META, JSON.parse(text)) }
}

/** How many attempts a record keeps: the first half and the last half of more. `attempts_made` counts all. */
const ATTEMPTS_KEPT = 40

/** Attempts as a record keeps them: the first 20 and the last 20. */
export function keepAttempts(attempts: readonly Attempt[]): Attempt[] {
  const half = ATTEMPTS_KEPT / 2
  return attempts.length <= ATTEMPTS_KEPT
    ? [...attempts]
    : [...attempts.slice(0, half), ...attempts.slice(-half)]
}

// Of its end only how long after its start it came is written; no provider that the deployment's name begins with, no group
// that is the model which was asked for, and not that it completed.
const ATTEMPT: RowForm<keyof Attempt> = {
  names: [
    'number', 'deployment', 'model_group', 'started_at', 'outcome', 'ended_at', 'status_code', 'input_tokens',
    'output_tokens', 'cost', 'error_class', 'retry_after', 'possibly_billed', 'provider',
  ],
  optional: NONE,
} // oxfmt-ignore

type WrittenAttempt = Omit<Attempt, 'provider' | 'possibly_billed' | 'model_group' | 'outcome'> & {
  provider: string | null
  possibly_billed: true | null
  model_group: string | null
  outcome: Attempt['outcome'] | null
}

/** Attempts as lines, one each. @param model That was asked for. */
export function formatLog(attempts: readonly Attempt[], model: string): string {
  return attempts.map((attempt) => `${formatAttempt(attempt, model)}\n`).join('')
}

/** The attempts of a record, in order. A line is an attempt; of two about the same call the later one counts. */
export function parseLog(log: string, model: string): Attempt[] {
  const byNumber = new Map<number, Attempt>()
  for (const line of log.split('\n')) {
    if (line === '') continue
    const attempt = parseAttempt(line, model)
    byNumber.set(attempt.number, attempt)
  }
  return [...byNumber.values()].toSorted((a, b) => a.number - b.number)
}

function formatAttempt(attempt: Attempt, model: string): string {
  const { deployment, provider, model_group: group, started_at: startedAt, ended_at: endedAt } = attempt
  const row = toRow(ATTEMPT, {
    ...attempt,
    model_group: group === model ? null : group,
    outcome: attempt.outcome === 'completed' ? null : attempt.outcome,
    ended_at: endedAt === null ? null : endedAt - startedAt,
    possibly_billed: attempt.possibly_billed || null,
    provider: deployment.startsWith(`${provider}/`) && !provider.includes('/') ? null : provider,
  })
  return JSON.stringify(row)
}

function parseAttempt(line: string, model: string): Attempt {
  const written = JSON.parse(line) as unknown
  if (!Array.isArray(written)) return written as Attempt // as it was written before there were rows
  const attempt = fromRow<WrittenAttempt>(ATTEMPT, written)
  const { deployment, provider, model_group: group, started_at: startedAt, ended_at: tookMs } = attempt
  return {
    ...attempt,
    model_group: group ?? model,
    outcome: attempt.outcome ?? 'completed',
    provider: provider ?? deployment.slice(0, deployment.indexOf('/')),
    ended_at: tookMs === null ? null : startedAt + tookMs,
    possibly_billed: attempt.possibly_billed === true,
  }
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

/** What is known of a job since its end, beside its attempts, as far as there is any of it. */
export type EndFacts = {
  answer?: AnswerFacts
  /** Of the provider's last answer, which the result is. */
  statusCode?: number
  requestId?: string
  usage?: Usage
  /** Of all calls, in dollars. */
  cost?: number
  /** How many the stream of a complete answer has. */
  pieces?: number
  /** What of the request was not said to the provider. */
  warnings?: readonly string[]
}

/** The header by which a provider names a request, mostly: its id is written once. */
const REQUEST_ID = 'x-request-id'

const END_NAMES = [
  'model_id', 'retries', 'fallbacks', 'headers', 'statusCode', 'usage', 'requestId', 'cost', 'model_group', 'pieces',
  'warnings',
] as const // oxfmt-ignore
type WrittenEnd = Omit<EndFacts, 'answer' | 'usage' | 'requestId'> &
  Partial<AnswerFacts> & {
    usage?: unknown[]
    /** 0: as the header says. */
    requestId?: string | 0
  }
const END: RowForm<keyof WrittenEnd> = { names: END_NAMES, optional: new Set(END_NAMES) }

/** What a job ended with, as text. @param model That was asked for. */
export function formatEnd({ answer, usage, requestId, ...facts }: EndFacts, model: string): string {
  const { model_group: group, ...answered } = answer ?? {}
  const row = toRow(END, {
    ...facts,
    ...answered,
    ...(group === undefined || group === model ? {} : { model_group: group }),
    ...(usage && { usage: rowOfUsage(usage) }),
    ...(requestId !== undefined && { requestId: requestId === answer?.headers[REQUEST_ID] ? 0 : requestId }),
  })
  return JSON.stringify(row)
}

/** The same, from its text. */
export function parseEnd(text: string, model: string): EndFacts {
  const end = fromRow<WrittenEnd>(END, JSON.parse(text))
  const {
    model_id: id,
    model_group: group = model,
    retries = 0,
    fallbacks = 0,
    headers = {},
    usage,
    ...others
  } = end
  const { requestId, ...facts } = others
  return {
    ...facts,
    ...(id !== undefined && { answer: { model_id: id, model_group: group, retries, fallbacks, headers } }),
    ...(usage && { usage: usageOfRow(usage) }),
    ...(requestId !== undefined && { requestId: requestId === 0 ? (headers[REQUEST_ID] ?? '') : requestId }),
  }
}

// The sum of both is nearly always what the provider says as well.
const USAGE: RowForm<keyof Usage> = {
  names: ['input_tokens', 'output_tokens', 'cached_input_tokens', 'total_tokens'],
  optional: NONE,
}

function sumOf(usage: Pick<Usage, 'input_tokens' | 'output_tokens'>): number {
  return usage.input_tokens + usage.output_tokens
}

function rowOfUsage(usage: Usage): unknown[] {
  return toRow(USAGE, {
    ...usage,
    cached_input_tokens: usage.cached_input_tokens === 0 ? null : usage.cached_input_tokens,
    total_tokens: usage.total_tokens === sumOf(usage) ? null : usage.total_tokens,
  })
}

type WrittenUsage = Pick<Usage, 'input_tokens' | 'output_tokens'> & { [Name in keyof Usage]: number | null }

function usageOfRow(row: unknown[]): Usage {
  const usage = fromRow<WrittenUsage>(USAGE, row)
  return {
    ...usage,
    cached_input_tokens: usage.cached_input_tokens ?? 0,
    total_tokens: usage.total_tokens ?? sumOf(usage),
  }
}

/** When what came of a job, in milliseconds of Redis' clock; null: it did not. */
export type JobTimes = {
  created: number
  deadline: number
  /** When it was to be run at the earliest. */
  starts: number | null
  started: number | null
  cancelling: number | null
  ended: number | null
}

/** Those of an ended job, as `settle-job.lua` writes them: when it was created, and how much later all else was ('-': never). */
export function parseTimes(text: string): JobTimes {
  const [created = 0, ...others] = text.split(' ').map(Number)
  const [ended = null, deadline = 0, started = null, cancelling = null, starts = null] = others.map((since) =>
    Number.isNaN(since) ? null : created + since,
  )
  return { created, ended, deadline: deadline ?? 0, started, cancelling, starts }
}
