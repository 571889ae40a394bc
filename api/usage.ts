import { InvalidRequestError } from '../shared/errors.ts'
import { roundUsd } from '../shared/routing/prices.ts'
import {
  USAGE_GROUPS,
  type UsageBucket,
  type UsageGroup,
  type UsagePage,
  type UsageQuery,
  type UsageResult,
} from '../shared/schemas/usage.ts'
import { DAY_MS, USAGE_DAYS_KEPT, type UsageStore, type UsageSum } from '../shared/tenants/usage.ts'

const DAYS_DEFAULT = 7
/** Rows of a day; what is beyond is one more, under `*`. */
const RESULTS_MAX = 1_000

/**
 * A page of a tenant's usage, a bucket for each day.
 * @throws {InvalidRequestError} naming what of the query makes no sense.
 */
export async function readUsage(
  usage: Pick<UsageStore, 'read'>,
  tenant: string,
  query: UsageQuery,
): Promise<UsagePage> {
  const groups = readGroups(query.group_by)
  const { first, last } = readDays(query, Math.floor(Date.now() / DAY_MS))
  const from = query.page === undefined ? first : dayOf(query.page, 'page')
  if (from < first || from > last + 1) throw new InvalidRequestError('`page` is not of this query.', 'page')
  const to = Math.min(last, from + query.limit - 1)
  const data: UsageBucket[] = []
  for (let day = from; day <= to; day += 1) {
    data.push(bucketOf(day, groupSums(await usage.read({ tenant, day }), groups)))
  }
  const hasMore = to < last
  return { object: 'page', data, has_more: hasMore, next_page: hasMore ? dateOf(to + 1) : null }
}

function readGroups(asked: string | string[] | undefined): ReadonlySet<UsageGroup> {
  const names = [asked ?? []].flat().flatMap((text) => text.split(','))
  return new Set(
    names.map((name) => {
      const group = USAGE_GROUPS.find((one) => one === name)
      if (group) return group
      throw new InvalidRequestError(
        `\`group_by\` takes ${USAGE_GROUPS.join(', ')} and no others.`,
        'group_by',
      )
    }),
  )
}

function readDays({ start, end }: UsageQuery, today: number): { first: number; last: number } {
  const last = end === undefined ? today : dayOf(end, 'end')
  const first = start === undefined ? last - DAYS_DEFAULT + 1 : dayOf(start, 'start')
  if (first > last) throw new InvalidRequestError('`start` is after `end`.', 'start')
  if (last - first < USAGE_DAYS_KEPT) return { first, last }
  const message = `One query is of ${USAGE_DAYS_KEPT} days at most, which is how long they are kept here; older ones are in files with the purpose "usage".`
  throw new InvalidRequestError(message, 'start')
}

function dayOf(text: string, param: string): number {
  const ms = /^\d+$/.test(text) ? Number(text) * 1000 : Date.parse(`${text}T00:00:00Z`)
  if (Number.isFinite(ms)) return Math.floor(ms / DAY_MS)
  throw new InvalidRequestError(`\`${param}\` is no day that there is.`, param)
}

/** A day as YYYY-MM-DD. */
function dateOf(day: number): string {
  return new Date(day * DAY_MS).toISOString().slice(0, 10)
}

function bucketOf(day: number, results: UsageResult[]): UsageBucket {
  const startTime = (day * DAY_MS) / 1000
  return {
    object: 'bucket',
    day: dateOf(day),
    start_time: startTime,
    end_time: startTime + DAY_MS / 1000,
    results,
  }
}

/** Sums of those that are alike in what is grouped by, the dearest first. */
function groupSums(sums: readonly UsageSum[], groups: ReadonlySet<UsageGroup>): UsageResult[] {
  const rows = new Map<string, UsageResult>()
  const name = (group: 'customer' | 'key' | 'model', sum: UsageSum) => (groups.has(group) ? sum[group] : null)
  for (const sum of sums) {
    const names = { customer: name('customer', sum), key: name('key', sum), model: name('model', sum) }
    addTo(rows, names, sum)
  }
  const sorted = [...rows.values()].toSorted((a, b) => b.cost_usd - a.cost_usd || b.requests - a.requests)
  if (sorted.length <= RESULTS_MAX) return sorted
  const others = new Map<string, UsageResult>()
  const star = (group: UsageGroup) => (groups.has(group) ? '*' : null)
  const names = { customer: star('customer'), key: star('key'), model: star('model') }
  for (const row of sorted.slice(RESULTS_MAX)) addTo(others, names, sumOf(row))
  return [...sorted.slice(0, RESULTS_MAX), ...others.values()]
}

type Names = Pick<UsageResult, 'customer' | 'key' | 'model'>
type Figures = Omit<UsageSum, keyof Names>

function addTo(rows: Map<string, UsageResult>, names: Names, added: Figures): void {
  const key = JSON.stringify([names.customer, names.key, names.model])
  const row = rows.get(key)
  rows.set(key, {
    object: 'usage.result',
    ...names,
    requests: (row?.requests ?? 0) + added.requests,
    completed: (row?.completed ?? 0) + added.completed,
    input_tokens: (row?.input_tokens ?? 0) + added.inputTokens,
    output_tokens: (row?.output_tokens ?? 0) + added.outputTokens,
    cost_usd: roundUsd((row?.cost_usd ?? 0) + added.costUsd),
  })
}

function sumOf(row: UsageResult): Figures {
  const {
    requests,
    completed,
    input_tokens: inputTokens,
    output_tokens: outputTokens,
    cost_usd: costUsd,
  } = row
  return { requests, completed, inputTokens, outputTokens, costUsd }
}
