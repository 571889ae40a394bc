import type { Redis } from 'ioredis'
import type { Keys } from '../keys.ts'
import { roundUsd } from '../routing/prices.ts'
import { createScript } from '../scripts.ts'

/** How long a day's sums are kept after it. */
export const USAGE_DAYS_KEPT = 93
export const DAY_MS = 86_400_000

const NEWS_AT_ONCE = 500
/** Of one round, which comes twice a second: what is left then is the next one's. */
const FOLDS_MAX = 20
/** Customers are named by whoever submits: a day must not grow with their imagination. */
const COMBINATIONS_MAX = 10_000
const MICRO = 1_000_000

/** What one customer used by one gateway key of one model in a day; `*` stands for what is beyond 10,000 of these. */
export type UsageSum = {
  customer: string | null
  /** Null: the master key. */
  key: string | null
  model: string
  requests: number
  /** Those that brought an answer. */
  completed: number
  inputTokens: number
  outputTokens: number
  costUsd: number
}

/** A UTC day of a tenant; days are counted from 1970. */
export type TenantDay = { tenant: string; day: number }

/**
 * What tenants have used, by UTC days. The scripts that end jobs and lines of batches leave a note each on a list (`usage-news`),
 * in the step that ends them; these are summed up a moment later.
 */
export function createUsage({ redis, keys }: { redis: Redis; keys: Keys }) {
  const foldUsage = createScript(redis, 'fold-usage')
  const takeUsageDays = createScript(redis, 'take-usage-days')

  /**
   * Sums up what there is of news, up to ten thousand of them.
   * @param isExported Days are to be exported when they are over.
   * @returns whether all there was is summed up, so that a day that is over is whole.
   */
  async function fold({ isExported }: { isExported: boolean }): Promise<boolean> {
    for (let round = 0; round < FOLDS_MAX; round += 1) {
      const reply = await foldUsage(
        [keys.usageNews, keys.usageDays],
        [NEWS_AT_ONCE, keys.usagePrefix, COMBINATIONS_MAX, USAGE_DAYS_KEPT * DAY_MS, isExported ? '1' : '0'],
      )
      const [, left] = reply as [number, number] // see the script
      if (left === 0) return true
    }
    return false
  }

  /** A day's sums, in a fixed order; empty when there are none. */
  async function read({ tenant, day }: TenantDay): Promise<UsageSum[]> {
    const fields = await redis.hgetall(keys.usageOf(tenant, String(day)))
    return Object.entries(fields)
      .toSorted(([a], [b]) => (a < b ? -1 : 1))
      .map(([names, figures]) => parseSum(names, figures))
  }

  /** Takes days that are over and not exported yet, for so long. */
  async function takeDays(daysMax: number, takenMs: number): Promise<TenantDay[]> {
    const reply = await takeUsageDays([keys.usageDays], ['', daysMax, takenMs])
    return (reply as Buffer[]).map((member) => {
      const [day = '', tenant = ''] = String(member).split(' ')
      return { tenant, day: Number(day) }
    })
  }

  /** A day that was taken is exported, or there is nothing of it. */
  async function dayDone({ tenant, day }: TenantDay): Promise<void> {
    await redis.zrem(keys.usageDays, `${day} ${tenant}`)
  }

  return { fold, read, takeDays, dayDone }
}

export type UsageStore = ReturnType<typeof createUsage>

// As fold-usage.lua writes them.
function parseSum(names: string, figures: string): UsageSum {
  const [customer, key, model] = JSON.parse(names) as [string | null, string | null, string]
  const [requests = 0, completed = 0, inputTokens = 0, outputTokens = 0, microUsd = 0] = figures
    .split(' ')
    .map(Number)
  return { customer, key, model, requests, completed, inputTokens, outputTokens, costUsd: usdOf(microUsd) }
}

/** Millionths of a dollar as dollars, without the noise of binary fractions. */
export function usdOf(microUsd: number): number {
  return roundUsd(microUsd / MICRO)
}
