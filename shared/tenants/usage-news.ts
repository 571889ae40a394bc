import type { Usage } from '../schemas/job.ts'

const MICRO = 1_000_000
/** Decimals of a millionth of a dollar that are kept: embeddings cost a fraction of one. */
const DECIMALS = 6
/** More than any call costs; what a client's own price makes of it must not be more than can be added up. */
const FIGURE_MAX = 1e12

/** What one job, or one line of a batch, used. Money in millionths of a dollar. */
export type Used = { inputTokens: number; outputTokens: number; microUsd: number }

/** Whose job, or line, it was, and how it ended. */
export type UsageSubject = {
  tenant: string
  customer: string | null
  /** Gateway key that it came with; null or missing: the master key. */
  key?: string | null | undefined
  /** The model that was asked for. */
  model: string
  status: string
}

/** What was used, of a provider's count and a cost in dollars; what is not known counts as nothing. */
export function usedOf(usage: Partial<Usage> | null, cost: number | null): Used {
  return {
    inputTokens: figure(usage?.input_tokens),
    outputTokens: figure(usage?.output_tokens),
    microUsd: Number(figure((cost ?? 0) * MICRO).toFixed(DECIMALS)),
  }
}

/**
 * News of what was used, as `fold-usage.lua` reads them: the script that ends the job, or the line, puts them on the list
 * `keys.usageNews`, behind the number of the UTC day.
 */
export function formatUsage(subject: UsageSubject, used: Used): string {
  const { tenant, customer, key = null, model, status } = subject
  const { inputTokens, outputTokens, microUsd } = used
  // Half of a surrogate pair, which JSON may hold, is no text to the script that reads it.
  const names = [tenant, customer, key, model].map((name) => name?.toWellFormed() ?? null)
  return JSON.stringify([...names, status, inputTokens, outputTokens, microUsd])
}

function figure(value: number | undefined): number {
  return value === undefined || !(value > 0) ? 0 : Math.min(value, FIGURE_MAX)
}
