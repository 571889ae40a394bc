import type { ChunkClaim } from './batch-claims.ts'
import { countable } from './batch-record.ts'
import { packEntry, type OrderEntry } from './batch-results.ts'
import type { Usage } from '../schemas/job.ts'
import type { ScriptArgument } from '../scripts.ts'
import { formatUsage, usedOf } from '../tenants/usage-news.ts'

/** One line's end. Its result must be durable. */
export type LineEnd = {
  by: 'complete' | 'claim'
  entry: OrderEntry
  /** That was asked for; null: the line names none. */
  model: string | null
  usage: Usage | null
  cost: number | null
}

/** It as `settle-lines.lua` takes it. */
export function endArguments(
  { tenant, meta: { customer, key } }: Pick<ChunkClaim, 'tenant' | 'meta'>,
  { by, entry, model, usage, cost }: LineEnd,
): ScriptArgument[] {
  const used = usedOf(usage, cost)
  return [
    entry.line,
    by,
    packEntry(entry),
    entry.outcome,
    countable(usage?.input_tokens),
    countable(usage?.cached_input_tokens),
    countable(usage?.output_tokens),
    countable(cost),
    used.microUsd,
    formatUsage({ tenant, customer, key, model: model ?? '', status: entry.outcome }, used),
  ]
}
