import { fromRow, toRow, type RowForm } from './rows.ts'
import type { AnswerFacts, JobMeta } from './job-record.ts'
import type { Attempt, Usage } from '../schemas/job.ts'

/**
 * How a record writes what it keeps in plain: short, since it is there once a job. What an earlier version wrote in full is
 * read as well.
 */

const META_DEFAULTS: Pick<JobMeta, 'customer' | 'metadata' | 'priority' | 'onCrash' | 'warnings'> = {
  customer: null,
  metadata: {},
  priority: 'normal',
  onCrash: 'retry',
  warnings: [],
}

/** What does not change of a job, but for what is as it mostly is. */
export function formatMeta(meta: JobMeta): string {
  const { customer, metadata, priority, onCrash, warnings, ...others } = meta
  return JSON.stringify({
    ...others,
    ...(customer === null ? {} : { customer }),
    ...(Object.keys(metadata).length === 0 ? {} : { metadata }),
    ...(priority === META_DEFAULTS.priority ? {} : { priority }),
    ...(onCrash === META_DEFAULTS.onCrash ? {} : { onCrash }),
    ...(warnings.length === 0 ? {} : { warnings }),
  })
}

/** The same, from its text. */
export function parseMeta(text: string): JobMeta {
  return { ...META_DEFAULTS, ...(JSON.parse(text) as JobMeta) } // written by formatMeta
}

const NONE: ReadonlySet<never> = new Set()

// Of its end only how long after its start it came is written, and no provider that the deployment's name begins with.
const ATTEMPT: RowForm<keyof Attempt> = {
  names: [
    'number', 'deployment', 'model_group', 'started_at', 'outcome', 'ended_at', 'status_code', 'input_tokens',
    'output_tokens', 'cost', 'error_class', 'retry_after', 'possibly_billed', 'provider',
  ],
  optional: NONE,
} // oxfmt-ignore

type WrittenAttempt = Omit<Attempt, 'provider' | 'possibly_billed'> & {
  provider: string | null
  possibly_billed: true | null
}

/** One attempt on a line. */
export function formatAttempt(attempt: Attempt): string {
  const { deployment, provider, started_at: startedAt, ended_at: endedAt } = attempt
  const row = toRow(ATTEMPT, {
    ...attempt,
    ended_at: endedAt === null ? null : endedAt - startedAt,
    possibly_billed: attempt.possibly_billed || null,
    provider: deployment.startsWith(`${provider}/`) && !provider.includes('/') ? null : provider,
  })
  return JSON.stringify(row)
}

/** The same, from its line. */
export function parseAttempt(line: string): Attempt {
  const written = JSON.parse(line) as unknown
  if (!Array.isArray(written)) return written as Attempt // as it was written before there were rows
  const attempt = fromRow<WrittenAttempt>(ATTEMPT, written)
  const { deployment, provider, started_at: startedAt, ended_at: tookMs } = attempt
  return {
    ...attempt,
    provider: provider ?? deployment.slice(0, deployment.indexOf('/')),
    ended_at: tookMs === null ? null : startedAt + tookMs,
    possibly_billed: attempt.possibly_billed === true,
  }
}

const ANSWER: RowForm<keyof AnswerFacts> = {
  names: ['model_id', 'model_group', 'retries', 'fallbacks', 'headers'],
  optional: NONE,
}

/** Who answered. */
export function formatAnswer(facts: AnswerFacts): string {
  return JSON.stringify(toRow(ANSWER, facts))
}

/** The same, from its text. */
export function parseAnswer(text: string): AnswerFacts {
  return fromRow(ANSWER, JSON.parse(text))
}

const USAGE: RowForm<keyof Usage> = {
  names: ['input_tokens', 'output_tokens', 'total_tokens', 'cached_input_tokens'],
  optional: NONE,
}

/** What an answer used. */
export function formatTokens(usage: Usage): string {
  return JSON.stringify(toRow(USAGE, usage))
}

/** The same, from its text. */
export function parseTokens(text: string): Usage {
  return fromRow(USAGE, JSON.parse(text))
}
