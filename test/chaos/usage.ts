import { UsagePage } from '../../shared/schemas/usage.ts'
import { insist } from './calls.ts'
import type { Fleet } from './fleet.ts'

/** What all tenants used, by the gateway's own account. */
export type Used = { requests: number; completed: number; tokens: number }

/** Sums of all days and tenants up to now. */
export async function readUsed(fleet: Fleet): Promise<Used> {
  const pages = await Promise.all(
    fleet.tenants.map(async (tenant) => {
      const answer = await insist(fleet, 'GET', '/v1/usage', { key: fleet.keyOf(tenant) })
      return UsagePage.parse(answer.json)
    }),
  )
  const results = pages.flatMap(({ data }) => data.flatMap((day) => day.results))
  return {
    requests: results.reduce((sum, one) => sum + one.requests, 0),
    completed: results.reduce((sum, one) => sum + one.completed, 0),
    tokens: results.reduce((sum, one) => sum + one.input_tokens + one.output_tokens, 0),
  }
}

/** What came to it between two reads. */
export function usedBetween(before: Used, after: Used): Used {
  return {
    requests: after.requests - before.requests,
    completed: after.completed - before.completed,
    tokens: after.tokens - before.tokens,
  }
}
