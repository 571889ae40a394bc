import { toFile, type OpenAI } from 'openai'
import { z } from 'zod'
import { BatchLineList, type BatchLine } from '../../api/batch-lines.ts'
import { Batch } from '../../shared/schemas/batch.ts'
import { openaiClient } from './clients.ts'
import { eventually } from './eventually.ts'
import type { CallResult, Gateway } from './gateway.ts'
import type { LedgerEntry } from './provider.ts'

/** A line of an output or error file. */
const ResultLine = z.strictObject({
  id: z.string(),
  custom_id: z.string(),
  response: z
    .strictObject({
      status_code: z.int(),
      request_id: z.string().nullable(),
      body: z.record(z.string(), z.unknown()),
    })
    .nullable(),
  error: z.strictObject({ code: z.string(), message: z.string() }).nullable(),
})
export type ResultLine = z.infer<typeof ResultLine>

const TERMINAL = new Set(['completed', 'failed', 'cancelled', 'expired'])

/**
 * A line of an input file that asks the group `mine`. Its prompt holds its name, so that the ledger tells whose call is whose.
 * @param fields beside its body.
 * @param body over what the body holds without it.
 */
export function inputLine(
  customId: string,
  fields: Record<string, unknown> = {},
  body: Record<string, unknown> = {},
) {
  return {
    custom_id: customId,
    method: 'POST',
    url: '/v1/chat/completions',
    ...fields,
    body: { model: 'mine', messages: [{ role: 'user', content: `<${customId}>` }], ...body },
  }
}

/** So many lines, `<prefix>-0` the first, made by number. */
export function inputLines(count: number, prefix = 'line', make: typeof inputLine = inputLine) {
  return Array.from({ length: count }, (_, number) => make(`${prefix}-${number}`))
}

/** The `custom_id` of the line that a call was made for. */
export function lineOf({ text }: LedgerEntry): string {
  return /<([^<>]+)>/.exec(text)?.[1] ?? ''
}

/** How often each of them occurs. */
export function countOf(names: readonly string[]): Map<string, number> {
  const counts = new Map<string, number>()
  for (const name of names) counts.set(name, (counts.get(name) ?? 0) + 1)
  return counts
}

/**
 * Files and batches of one tenant, as a user of the official SDK has them. Each call goes to the API process that is there at
 * that moment.
 */
export function batchesOf(gateway: Gateway, key = gateway.masterKey) {
  const client = () => openaiClient(gateway.url, key)

  async function upload(lines: readonly object[]): Promise<OpenAI.FileObject> {
    const text = lines.map((line) => `${JSON.stringify(line)}\n`).join('')
    return client().files.create({ purpose: 'batch', file: await toFile(Buffer.from(text), 'lines.jsonl') })
  }

  async function create(fileId: string, fields: Record<string, unknown> = {}): Promise<Batch> {
    const request: OpenAI.BatchCreateParams = {
      input_file_id: fileId,
      endpoint: '/v1/chat/completions',
      completion_window: '24h',
      ...fields,
    }
    return Batch.parse(await client().batches.create(request))
  }

  async function read(id: string): Promise<Batch> {
    return Batch.parse(await client().batches.retrieve(id))
  }

  /** The batch once it is so. */
  function when(
    what: string,
    id: string,
    check: (batch: Batch) => boolean,
    timeoutMs?: number,
  ): Promise<Batch> {
    return eventually(
      `batch ${id} ${what}`,
      async () => {
        const batch = await read(id)
        if (!check(batch)) throw new Error(JSON.stringify([batch.status, batch.progress, batch.errors]))
        return batch
      },
      { timeoutMs, everyMs: 50 },
    )
  }

  async function content(fileId: string): Promise<string> {
    const answer = await client().files.content(fileId)
    return answer.text()
  }

  async function resultsIn(fileId: string | null): Promise<ResultLine[]> {
    if (fileId === null) return []
    const rows = (await content(fileId)).split('\n')
    if (rows.pop() !== '') throw new Error('The file does not end with a newline.')
    return rows.map((row) => ResultLine.parse(JSON.parse(row)))
  }

  return {
    key,
    upload,
    create,
    /** Uploads the lines and makes a batch of them. */
    start: async (lines: readonly object[], fields?: Record<string, unknown>) =>
      create((await upload(lines)).id, fields),
    read,
    when,
    ended: (id: string, timeoutMs?: number) =>
      when('ends', id, ({ status }) => TERMINAL.has(status), timeoutMs),
    cancel: async (id: string) => Batch.parse(await client().batches.cancel(id)),
    retry: (id: string, body: object = {}): Promise<CallResult> =>
      gateway.call('POST', `/v1/batches/${id}/retry`, { key, body }),
    content,
    /** What its two files hold. */
    async results({ output_file_id, error_file_id }: Batch) {
      const [output, error] = await Promise.all([resultsIn(output_file_id), resultsIn(error_file_id)])
      return { output, error }
    },
    /** All of its lines, with their attempts. */
    async lines(id: string): Promise<BatchLine[]> {
      const all: BatchLine[] = []
      for (;;) {
        const after = all.length === 0 ? '' : `&after=${all.at(-1)?.id ?? ''}`
        const answer = await gateway.call('GET', `/v1/batches/${id}/requests?limit=100${after}`, { key })
        if (answer.status !== 200) throw new Error(`answered ${answer.status}: ${answer.text}`)
        const page = BatchLineList.parse(answer.json)
        all.push(...page.data)
        if (!page.has_more) return all
      }
    },
  }
}

export type TestBatches = ReturnType<typeof batchesOf>
