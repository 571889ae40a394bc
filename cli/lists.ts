import { z } from 'zod'
import { Batch } from '../shared/schemas/batch.ts'
import { Job } from '../shared/schemas/job.ts'
import { describeCounts, describeErrors } from './batch-outcome.ts'
import { readClientSettings } from './client-settings.ts'
import { createGatewayClient, type GatewayClient } from './gateway-client.ts'
import { formatCost, formatCount, linesDone } from './progress.ts'
import { formatTable, printable, type Terminal } from './terminal.ts'

const PAGE_MAX = 100

export type ListOptions = { limit: number; after?: string; status?: string; json?: boolean }
type ShowOptions = { json?: boolean }

/** What `jobs` and `batches` do alike, each with its own noun. */
type Kind<Thing> = {
  path: string
  one: z.ZodType<Thing>
  heads: string[]
  row: (thing: Thing) => string[]
  facts: (thing: Thing) => [string, string | null][]
  /** Below the facts. */
  more: (thing: Thing) => string
}

const Page = z.looseObject({
  data: z.array(z.unknown()),
  has_more: z.boolean(),
  last_id: z.string().nullish(),
})

/** `byok-gateway jobs` */
export const JOBS: Kind<Job> = {
  path: '/v1/jobs',
  one: Job,
  heads: ['ID', 'STATUS', 'CREATED', 'MODEL', 'ATTEMPTS', 'COST'],
  row: (job) => [
    job.id,
    job.status,
    timeOf(job.created_at) ?? '',
    job.model,
    String(job.attempts_made),
    costOf(job.cost) ?? '',
  ],
  facts: (job) => [
    ['id', job.id],
    ['status', job.queue.state === null ? job.status : `${job.status} (${job.queue.state})`],
    ['endpoint', job.endpoint],
    ['model', job.model],
    ['provider', job.provider],
    ['customer', job.customer],
    ['created', timeOf(job.created_at)],
    ['started', timeOf(job.in_progress_at)],
    ['ended', timeOf(job.completed_at ?? job.failed_at ?? job.expired_at ?? job.cancelled_at)],
    ['expires', timeOf(job.expires_at)],
    ['attempts', `${job.attempts_made} of ${job.attempts_max}`],
    ['tokens', job.usage && formatCount(job.usage.total_tokens)],
    ['cost', costOf(job.cost)],
    ['metadata', metadataOf(job.metadata)],
    ['error', job.error && `${job.error.message} (code ${job.error.code ?? 'none'})`],
    ...notesOf(job.warnings),
  ],
  more: ({ attempts }) =>
    attempts.length === 0
      ? ''
      : `\n${formatTable([
          ['ATTEMPT', 'DEPLOYMENT', 'OUTCOME', 'HTTP', 'ERROR'],
          ...attempts.map((attempt) => [
            String(attempt.number),
            attempt.deployment,
            attempt.outcome,
            String(attempt.status_code ?? ''),
            attempt.error_class ?? '',
          ]),
        ])}`,
}

/** `byok-gateway batches` */
export const BATCHES: Kind<Batch> = {
  path: '/v1/batches',
  one: Batch,
  heads: ['ID', 'STATUS', 'CREATED', 'DONE', 'FAILED', 'MODEL', 'COST'],
  row: (batch) => [
    batch.id,
    batch.status,
    timeOf(batch.created_at) ?? '',
    describeCounts(batch),
    String(batch.progress.failed),
    batch.model ?? '',
    costOf(batch.cost) ?? '',
  ],
  facts: (batch) => [
    ['id', batch.id],
    ['status', batch.status],
    ['endpoint', batch.endpoint],
    ['model', batch.model],
    ['customer', batch.customer],
    ['created', timeOf(batch.created_at)],
    ['started', timeOf(batch.in_progress_at)],
    ['ended', timeOf(batch.completed_at ?? batch.failed_at ?? batch.expired_at ?? batch.cancelled_at)],
    ['expires', timeOf(batch.expires_at)],
    ['lines', `${formatCount(linesDone(batch))} of ${formatCount(batch.request_counts.total)} done`],
    ['of them', statesOf(batch)],
    ['tokens', formatCount(batch.usage.total_tokens)],
    ['cost', costOf(batch.cost)],
    ['input', batch.input_file_id],
    ['output', batch.output_file_id],
    ['errors', batch.error_file_id],
    ['retry of', batch.retry_of],
    ['metadata', metadataOf(batch.metadata)],
    ...notesOf(batch.warnings),
  ],
  more: (batch) =>
    describeErrors(batch)
      .map((line) => `${line}\n`)
      .join(''),
}

/** Newest first, as many as asked for, over several pages when needed. */
export async function listThings<Thing>(
  kind: Kind<Thing>,
  { limit, after, status, json }: ListOptions,
  terminal: Terminal,
): Promise<number> {
  const client = await connect(terminal)
  const found: unknown[] = []
  let [next, hasMore] = [after, true]
  while (hasMore && found.length < limit) {
    const query = new URLSearchParams({ limit: String(Math.min(limit - found.length, PAGE_MAX)) })
    if (next !== undefined) query.set('after', next)
    if (status !== undefined) query.set('status', status)
    const page = Page.parse(await client.call('GET', `${kind.path}?${query.toString()}`))
    found.push(...page.data)
    next = page.last_id ?? undefined
    hasMore = page.has_more && next !== undefined
  }
  if (json) terminal.print(asJson({ object: 'list', data: found, last_id: next ?? null, has_more: hasMore }))
  else terminal.print(formatTable([kind.heads, ...found.map((thing) => kind.row(kind.one.parse(thing)))]))
  if (hasMore && !json) terminal.warn(`There are more: --after ${next}`)
  return 0
}

/** One of them, with all that is known but what was sent and answered; `--json` has the answer too. */
export async function showThing<Thing>(
  kind: Kind<Thing>,
  id: string,
  { json }: ShowOptions,
  terminal: Terminal,
): Promise<number> {
  const client = await connect(terminal)
  print(kind, await client.call('GET', `${kind.path}/${encodeURIComponent(id)}`), json, terminal)
  return 0
}

/** Asks for the end of it. What a batch has in flight may take a while, and keeps its results. */
export async function cancelThing<Thing>(
  kind: Kind<Thing>,
  id: string,
  { json }: ShowOptions,
  terminal: Terminal,
): Promise<number> {
  const client = await connect(terminal)
  print(kind, await client.call('POST', `${kind.path}/${encodeURIComponent(id)}/cancel`), json, terminal)
  return 0
}

async function connect(terminal: Terminal): Promise<GatewayClient> {
  return createGatewayClient(await readClientSettings(terminal.environment), terminal.signal)
}

function print<Thing>(
  kind: Kind<Thing>,
  answer: unknown,
  json: boolean | undefined,
  { print: write }: Terminal,
) {
  if (json) return write(asJson(answer))
  const thing = kind.one.parse(answer)
  const known = kind.facts(thing).flatMap(([name, value]) => (value === null ? [] : [[`${name}:`, value]]))
  return write(formatTable(known) + kind.more(thing))
}

const asJson = (value: unknown) => `${JSON.stringify(value, null, 2)}\n`
const costOf = (cost: number | null) => (cost === null ? null : formatCost(cost))
const timeOf = (seconds: number | null) =>
  seconds === null ? null : new Date(seconds * 1000).toISOString().replace('.000', '')

function metadataOf(metadata: Record<string, string> | null): string | null {
  const pairs = Object.entries(metadata ?? {}).map(([key, value]) => `${key}=${value}`)
  return pairs.length === 0 ? null : pairs.join(', ')
}

function notesOf(warnings: readonly string[]): [string, string][] {
  return warnings.map((warning) => ['note', printable(warning)])
}

function statesOf({ progress }: Batch): string | null {
  const states = Object.entries(progress).filter(([, count]) => count > 0)
  return states.map(([state, count]) => `${formatCount(count)} ${state.replace('_', ' ')}`).join(', ') || null
}
