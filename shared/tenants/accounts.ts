import type { Redis } from 'ioredis'
import type { Ids } from '../ids.ts'
import type { Keys } from '../keys.ts'
import { redisNowMs } from '../redis.ts'
import { DAY_MS } from './usage.ts'

const MINUTE_MS = 60_000
/** In the order of `lua/include/account.lua`. */
const NAMES = [
  'live',
  'bytes',
  'ended',
  'reserved',
  'minute',
  'count',
  'before',
  'day',
  'spent',
  'held',
] as const

/** What the scripts count of a tenant or a customer, as it was written last. */
export type Account = Record<(typeof NAMES)[number], number>

/** It as it stands in Redis; null: nothing is counted. */
export function parseAccount(text: string | null): Account {
  const numbers = (text ?? '').split(' ').map(Number)
  return Object.fromEntries(NAMES.map((name, at) => [name, numbers[at] ?? 0])) as Account // all of them
}

/** What a tenant, or a customer of it, takes at this moment. Times in Unix milliseconds. */
export type AccountView = {
  /** Within the minute that ends now, and when all of them have left it; null: there are none. */
  requests: number
  requestsClearMs: number | null
  /** Accepted jobs that are neither running nor about to. */
  jobsWaiting: number
  /** Jobs and lines of batches that are. */
  jobsConcurrent: number
  bytesStored: number
  /** Spent this UTC day and held for what is under way, in millionths of a dollar; when the day is over. */
  microUsd: number
  dayEndsMs: number
}

/** Reads what the scripts count (`lua/include/account.lua`). */
export function createAccounts({ redis, keys, ids }: { redis: Redis; keys: Keys; ids: Ids }) {
  /** @param customer Null: the whole tenant. */
  async function read(tenant: string, customer: string | null): Promise<AccountView> {
    const owner = customer === null ? null : ids.ownerId(tenant, customer)
    const key = owner === null ? keys.account(tenant) : keys.customerAccount(tenant, owner)
    const running = owner === null ? tenant : `${tenant} ${owner}`
    const [text, jobs, lines, nowMs] = await Promise.all([
      redis.get(key),
      redis.hget(keys.busy, running),
      redis.hget(keys.batchBusy, running),
      redisNowMs(redis),
    ])
    const one = parseAccount(text)
    const isToday = one.day === Math.floor(nowMs / DAY_MS)
    return {
      ...requestsOf(one, nowMs),
      jobsWaiting: Math.max(0, one.live - Number(jobs ?? 0)),
      jobsConcurrent: Number(jobs ?? 0) + Number(lines ?? 0),
      bytesStored: one.bytes + one.reserved,
      microUsd: (isToday ? one.spent : 0) + one.held,
      dayEndsMs: (Math.floor(nowMs / DAY_MS) + 1) * DAY_MS,
    }
  }

  return { read }
}

export type Accounts = ReturnType<typeof createAccounts>

// As lua/include/admit.lua counts them: those of the minute before as if they had come evenly.
function requestsOf(
  counted: Pick<Account, 'minute' | 'count' | 'before'>,
  nowMs: number,
): Pick<AccountView, 'requests' | 'requestsClearMs'> {
  const minute = Math.floor(nowMs / MINUTE_MS)
  const isThis = counted.minute === minute
  const before = isThis ? counted.before : counted.minute === minute - 1 ? counted.count : 0
  const count = isThis ? counted.count : 0
  const requests = Math.ceil(before * (1 - (nowMs % MINUTE_MS) / MINUTE_MS) + count)
  const minutes = count > 0 ? 2 : 1
  return { requests, requestsClearMs: requests === 0 ? null : (minute + minutes) * MINUTE_MS }
}
