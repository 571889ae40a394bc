import { z } from 'zod'
import type { BatchInput } from '../shared/batches/batch-input.ts'
import type { BatchView, LineState } from '../shared/batches/batch-record.ts'
import {
  lineId,
  partOf,
  type LineOutcome,
  type LineResult,
  type OrderEntry,
} from '../shared/batches/batch-results.ts'
import type { Batches } from '../shared/batches/batches.ts'
import { FileGoneError } from '../shared/errors.ts'
import type { Files } from '../shared/files/files.ts'
import { customIdOf, errorOfLine } from '../shared/batches/result-line.ts'
import type { ResultLogs } from '../shared/batches/result-log.ts'
import { Attempt, Usage } from '../shared/schemas/job.ts'

const PLACES_AT_ONCE = 20_000

const LINE_STATUSES = ['queued', 'in_progress', 'completed', 'failed', 'expired', 'cancelled'] as const

/** What a line of a batch is at. */
export const LineStatus = z.enum(LINE_STATUSES)
export type LineStatus = z.infer<typeof LineStatus>

/** A line of a batch with what is known of its run; its answer is in the batch's output. */
export const BatchLine = z.object({
  id: z.string(),
  object: z.literal('batch.request'),
  custom_id: z.string(),
  line: z.int().describe('Its number in the input, the first being 0; blank lines do not count.'),
  status: LineStatus,
  attempts: z.array(Attempt),
  usage: Usage.nullable(),
  cost: z.number().nullable().describe('USD; null when it is not known.'),
  error: z
    .object({
      message: z.string(),
      type: z.string().optional(),
      param: z.string().nullable().optional(),
      code: z.string().nullable(),
    })
    .nullable(),
})
export type BatchLine = z.infer<typeof BatchLine>

/** A page of lines in OpenAI's list shape. */
export const BatchLineList = z.object({
  object: z.literal('list'),
  data: z.array(BatchLine),
  first_id: z.string().nullable(),
  last_id: z.string().nullable(),
  has_more: z.boolean(),
})

export type BatchLinesDeps = {
  batches: Pick<Batches, 'entries' | 'lineStates'>
  results: ResultLogs
  input: Pick<BatchInput, 'text'>
  files: Pick<Files, 'read'>
}

/** Which lines are asked for; `after` is a line, -1 to begin at the first. */
export type LineQuery = { after: number; limit: number; status?: LineStatus | undefined }

/** A page of a batch's lines, in the order of its input. */
export async function listBatchLines(
  deps: BatchLinesDeps,
  batch: BatchView,
  query: LineQuery,
): Promise<z.infer<typeof BatchLineList>> {
  // First: a line that settles meanwhile is in both, one that was looked for in the other order might be in neither.
  const states = await deps.batches.lineStates(batch.tenant, batch.id)
  const ended = await readEnded(deps.batches, batch, query)
  const statusOf = (line: number) => ended.get(line)?.outcome ?? openStatus(states.get(line))
  const { lines, hasMore } = pickLines(batch.total, statusOf, query)

  const ran = await readResults(
    deps.results,
    batch,
    lines.flatMap((line) => ended.get(line) ?? []),
  )
  const customIds = await readCustomIds(
    deps,
    batch,
    lines.filter((line) => !ran.has(line)),
  )
  const data = lines.map((line) => {
    const own = { id: lineId(batch.id, line), object: 'batch.request' as const, line }
    const told = ran.get(line)
    if (told) return { ...own, ...told }
    // Of one whose result was deleted, no more is known than how it ended.
    const attempts = ended.has(line) ? [] : (states.get(line)?.attempts ?? [])
    const rest = { attempts, usage: null, cost: null, error: null }
    return { ...own, custom_id: customIds.get(line) ?? '', status: statusOf(line), ...rest }
  })
  const [first_id, last_id] = [data[0]?.id ?? null, data.at(-1)?.id ?? null]
  return { object: 'list', data, first_id, last_id, has_more: hasMore }
}

/** Where the results lie of lines that may be on the page. */
async function readEnded(
  batches: BatchLinesDeps['batches'],
  batch: BatchView,
  { after, limit, status }: LineQuery,
): Promise<Map<number, OrderEntry>> {
  const last = status === undefined ? after + limit : Infinity
  const ended = new Map<number, OrderEntry>()
  for (let place = 0; ;) {
    const { entries, next } = await batches.entries(batch.tenant, batch.id, place, PLACES_AT_ONCE)
    for (const entry of entries) if (entry.line > after && entry.line <= last) ended.set(entry.line, entry)
    if (next === place) return ended
    place = next
  }
}

function openStatus(state: LineState | undefined): 'queued' | 'in_progress' {
  return state?.queueState === 'active' ? 'in_progress' : 'queued'
}

function pickLines(
  total: number,
  statusOf: (line: number) => LineStatus,
  { after, limit, status }: LineQuery,
): { lines: number[]; hasMore: boolean } {
  const lines: number[] = []
  for (let line = after + 1; line < total; line++) {
    if (status !== undefined && statusOf(line) !== status) continue
    if (lines.length === limit) return { lines, hasMore: true }
    lines.push(line)
  }
  return { lines, hasMore: false }
}

/** What a result says of its line's run. */
type Told = Pick<BatchLine, 'custom_id' | 'status' | 'attempts' | 'usage' | 'cost' | 'error'>

/** Those whose results are still kept: the two files of a batch are deleted by themselves. */
async function readResults(
  results: ResultLogs,
  batch: BatchView,
  entries: readonly OrderEntry[],
): Promise<Map<number, Told>> {
  const told = new Map<number, Told>()
  for (const part of ['output', 'error'] as const) {
    const some = entries.filter(({ outcome }) => partOf(outcome) === part)
    try {
      for await (const result of results.read(batch, some)) told.set(result.line, tellResult(result))
    } catch (error) {
      if (!(error instanceof FileGoneError)) throw error
    }
  }
  return told
}

function tellResult({ outcome, meta, text }: LineResult): Told {
  const { attempts, usage, cost } = meta
  const error = isError(outcome) ? errorOfLine(text) : null
  return { custom_id: customIdOf(text), status: outcome, attempts, usage, cost, error }
}

function isError(outcome: LineOutcome): boolean {
  return outcome !== 'completed'
}

async function readCustomIds(
  { files, input }: BatchLinesDeps,
  { tenant, inputFileId }: BatchView,
  lines: readonly number[],
): Promise<Map<number, string>> {
  const customIds = new Map<number, string>()
  const file = lines.length === 0 ? null : await files.read(tenant, inputFileId)
  if (!file) return customIds
  const { id: fileId, bytes, frameBytes } = file
  for await (const { line, text } of input.text(
    { tenant, fileId, bytes, frameBytes, lines: file.lines ?? 0 },
    lines,
  )) {
    // Validated before the batch began.
    const { custom_id: customId } = JSON.parse(text.toString()) as { custom_id: string }
    customIds.set(line, customId)
  }
  return customIds
}
