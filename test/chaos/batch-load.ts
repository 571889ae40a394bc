import { setTimeout as pause } from 'node:timers/promises'
import { z } from 'zod'
import { BatchLineList, type BatchLine } from '../../api/batch-lines.ts'
import { Batch } from '../../shared/schemas/batch.ts'
import { insist } from './calls.ts'
import type { Fleet } from './fleet.ts'
import type { Order } from './order.ts'

/** How a batch ended: its lines with their attempts, and who has a line in one of its files, as often as it has. */
export type BatchEnd = { batch: Batch; lines: BatchLine[]; results: string[] }

const ENDED = new Set(['completed', 'failed', 'cancelled', 'expired'])
const Row = z.looseObject({ custom_id: z.string() })

/** The `custom_id`, and the prompt's mark, of one of its lines. */
export const lineMark = (mark: string, number: number): string => `${mark}.${number}`

/** Makes a batch of lines that come in the call itself. Insists, with an idempotency key. @returns its id */
export async function submitBatch(
  fleet: Fleet,
  order: Order,
  { config, webhookUrl }: { config: object; webhookUrl: string | null },
): Promise<string> {
  const requests = Array.from({ length: order.lines }, (_, number) => {
    const mark = lineMark(order.mark, number)
    return { custom_id: mark, body: { model: 'mine', messages: [{ role: 'user', content: `<${mark}>` }] } }
  })
  const body = {
    endpoint: '/v1/chat/completions',
    completion_window: '24h',
    requests,
    user_config: config,
    metadata: { mark: order.mark },
    priority: order.priority,
    ...(order.customer === null ? {} : { customer: order.customer }),
    ...(webhookUrl === null ? {} : { webhook: { url: webhookUrl } }),
  }
  const key = fleet.keyOf(order.tenant)
  const headers = { 'idempotency-key': order.mark }
  const answer = await insist(fleet, 'POST', '/v1/batches', { key, api: order.number, body, headers })
  return Batch.parse(answer.json).id
}

/** Waits for a batch's end, and reads what is to be looked at while it is there. */
export async function followBatch(fleet: Fleet, order: Order, id: string): Promise<BatchEnd> {
  const key = fleet.keyOf(order.tenant)
  const read = async (path: string) => {
    const answer = await insist(fleet, 'GET', path, { key, api: order.number })
    if (answer.status !== 200) throw new Error(`${path} was answered ${answer.status}`)
    return answer.json
  }
  for (;;) {
    const batch = Batch.parse(await read(`/v1/batches/${id}`))
    if (!ENDED.has(batch.status)) {
      await pause(300)
      continue
    }
    const lines: BatchLine[] = []
    for (let hasMore = true; hasMore;) {
      const after = lines.length === 0 ? '' : `&after=${lines.at(-1)?.id ?? ''}`
      const page = BatchLineList.parse(await read(`/v1/batches/${id}/requests?limit=100${after}`))
      lines.push(...page.data)
      hasMore = page.has_more
    }
    const files = [batch.output_file_id, batch.error_file_id].filter((file) => file !== null)
    const texts = await Promise.all(files.map((file) => content(fleet, key, order.number, file)))
    const rows = texts.flatMap((text) => text.split('\n').filter((row) => row !== ''))
    return { batch, lines, results: rows.map((row) => Row.parse(JSON.parse(row)).custom_id) }
  }
}

async function content(fleet: Fleet, key: string, api: number, file: string): Promise<string> {
  for (let tries = 0; ; tries += 1) {
    const url = `${fleet.url(api + tries)}/v1/files/${file}/content`
    const answer = await fetch(url, { headers: { authorization: `Bearer ${key}` } }).catch(() => null)
    if (answer?.status === 200) return answer.text()
    if (tries > 200) throw new Error(`The content of ${file} can't be read: ${answer?.status ?? 'no answer'}`)
    await pause(250)
  }
}
