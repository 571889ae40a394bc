import type { JobMeta } from './job-record.ts'
import type { Usage } from './schemas/job.ts'
import type { ScriptArgument } from './scripts.ts'

const MICRO = 1_000_000
const DAY_MS = 86_400_000

/** What one job, or one line of a batch, used, as a counter of a day is told of it. */
export type UsageNews = {
  tenant: string
  customer: string | null
  /** Gateway key that it came with; null for the master key. */
  key: string | null
  /** The model that was asked for. */
  model: string
  status: string
  inputTokens: number
  outputTokens: number
  microUsd: number
}

type Used = Pick<UsageNews, 'inputTokens' | 'outputTokens' | 'microUsd'>

/** What a job used, of the fields that are written at its end (name, value, ...). */
export function usedBy(fields: readonly ScriptArgument[]): Used {
  const at = (name: string) => {
    const index = fields.findIndex((field, position) => position % 2 === 0 && field === name)
    return index < 0 ? null : String(fields[index + 1])
  }
  const usage = at('usage')
  const { input_tokens: inputTokens = 0, output_tokens: outputTokens = 0 } =
    usage === null ? {} : (JSON.parse(usage) as Partial<Usage>) // as its worker has just written it
  return { inputTokens, outputTokens, microUsd: Math.ceil(Number(at('cost') ?? 0) * MICRO) }
}

/** A line of the list `keys.usageNews`, of this UTC day: the order is part of what the folding script reads. */
export function formatUsage(tenant: string, meta: JobMeta, status: string, used: Used): string {
  const { customer, key = null, model } = meta
  const { inputTokens, outputTokens, microUsd } = used
  const day = Math.floor(Date.now() / DAY_MS)
  return JSON.stringify([day, tenant, customer, key, model, status, inputTokens, outputTokens, microUsd])
}
