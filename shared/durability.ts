import type { Redis } from 'ioredis'
import { syncAof, trySync, type SyncStanding } from './aof-sync.ts'
import { DurabilityUnavailableError } from './errors.ts'
import type { Logger } from './log.ts'
import { createRedis, nodeOf } from './redis.ts'
import { isRedisOutage } from './redis-check.ts'

/** Connections of one shard that wait, each for all that came before it; with the pause between two they share a second evenly. */
const WAITS_AT_ONCE_MAX = 5
const GATHER_MS = 200
/** After so long a server that could not is asked again. */
const ASK_AGAIN_MS = 10_000
const READY_MS_MAX = 900
const READY_EVERY_MS = 10
/** What an answer may take beside the wait. */
const ANSWER_MS = 1_000

/** `kept`: it is on the disk. `gone`: it is not there (any more). `unsure`: Redis was away, or its disk too slow, to say so. */
export type Kept = 'kept' | 'gone' | 'unsure'

/** Whether what is waited for is there, by one command that is sent at once on the connection that it is given. */
type Look = (redis: Redis) => Promise<boolean>
type Waiter = { look: Look; resolve: (kept: Kept) => void }

/**
 * Waits until Redis' append-only file, with what was written before, is on its disk (docs/decisions/0024). `WAITAOF` covers what
 * its own connection wrote, and all that the server took before that: so one small write and one wait serve whatever came
 * up to then (group commit). It blocks its connection, hence connections of its own, and a few of them: a wait that takes long
 * holds up nobody who comes later.
 *
 * A server that died meanwhile may be back without what it had acknowledged, and says of its empty hands that they are on the disk:
 * each wait looks first, on the very connection that waits, whether the thing is there.
 *
 * @param deps.open Opens a connection of role `commands` whose commands may take `timeoutMs` and a little more.
 */
export function createDurability(deps: { open: () => Redis; timeoutMs: number }) {
  const lanes = new Map<string, ReturnType<typeof createLane>>()

  /** @param mark The key that is written, in the slot of what is waited for. */
  function laneOf(mark: string): ReturnType<typeof createLane> {
    const lane = lanes.get(mark) ?? createLane(mark, deps)
    lanes.set(mark, lane)
    return lane
  }

  return {
    /** Why this server can't do it, in a few words; null: it can. @throws while Redis is away. */
    whyNot: async (mark: string): Promise<string | null> => (await laneOf(mark).standing()).reason,

    /**
     * Asked before anything is stored.
     * @param param The field that asks for it; null: its tenant's setting.
     * @throws {DurabilityUnavailableError}
     */
    async require(mark: string, param: string | null): Promise<void> {
      const { reason } = await laneOf(mark).standing()
      if (reason !== null) throw new DurabilityUnavailableError(reason, param)
    },

    /** Waits for all that this server took so far; never throws. */
    wait: (mark: string, look: Look): Promise<Kept> => laneOf(mark).wait(look),

    close(): void {
      for (const lane of lanes.values()) lane.close()
    },
  }
}

export type Durability = ReturnType<typeof createDurability>

/** As above, with connections of its own to `REDIS_URL`, opened as they are needed. */
export function openDurability(redis: { url: string; fsyncTimeoutMs: number }, log: Logger): Durability {
  const { url, fsyncTimeoutMs: timeoutMs } = redis
  const open = () => createRedis(url, 'commands', log, timeoutMs + ANSWER_MS, timeoutMs + 2 * ANSWER_MS)
  return createDurability({ open, timeoutMs })
}

function createLane(mark: string, deps: { open: () => Redis; timeoutMs: number }) {
  const { timeoutMs } = deps
  const all: Redis[] = []
  const free: Redis[] = []
  const waiting: Waiter[] = []
  let timer: NodeJS.Timeout | null = null
  let known: (SyncStanding & { atMs: number }) | null = null
  let asking: Promise<SyncStanding> | null = null

  function wait(look: Look): Promise<Kept> {
    return new Promise((resolve) => {
      waiting.push({ look, resolve })
      // At once where nobody waits, but for what the same turn brings; else in company.
      timer ??= setTimeout(begin, free.length === all.length ? 0 : GATHER_MS)
    })
  }

  function begin(): void {
    timer = null
    const redis = waiting.length > 0 ? take() : undefined
    // Whoever comes free next takes them.
    if (!redis) return
    const waiters = waiting.splice(0)
    void keep(redis, waiters).finally(() => {
      free.push(redis)
      if (waiting.length > 0) timer ??= setTimeout(begin, 0)
    })
  }

  function take(): Redis | undefined {
    const own = free.pop()
    return own ?? (all.length < WAITS_AT_ONCE_MAX ? add() : undefined)
  }

  function add(): Redis {
    const opened = deps.open()
    // Behind the next one there may be another server.
    opened.on('close', () => (known = null))
    all.push(opened)
    return opened
  }

  async function keep(redis: Redis, waiters: readonly Waiter[]): Promise<void> {
    const outcomes = await areOnDisk(redis, waiters).catch((error: unknown) => {
      if (!isRedisOutage(error)) known = null
      return []
    })
    waiters.forEach(({ resolve }, at) => resolve(outcomes[at] ?? 'unsure'))
  }

  async function areOnDisk(redis: Redis, waiters: readonly Waiter[]): Promise<Kept[]> {
    const { reason, isEarly } = await standing()
    if (reason !== null) return []
    const node = await nodeOf(await whenReady(redis), mark)
    // In one turn, so that all of it reaches one server, in this order.
    const looks = Promise.allSettled(waiters.map(({ look }) => look(node)))
    const [seen, isSynced] = await Promise.all([looks, syncAof(node, mark, { isEarly, timeoutMs })])
    return seen.map((one) => {
      if (one.status === 'rejected') return 'unsure'
      return one.value ? (isSynced ? 'kept' : 'unsure') : 'gone'
    })
  }

  function standing(): Promise<SyncStanding> {
    const isStale = known?.reason != null && performance.now() - known.atMs > ASK_AGAIN_MS
    if (known && !isStale) return Promise.resolve(known)
    asking ??= ask().finally(() => (asking = null))
    return asking
  }

  async function ask(): Promise<SyncStanding> {
    const redis = deps.open()
    try {
      const said = await trySync(await nodeOf(await whenReady(redis), mark), mark, timeoutMs)
      known = said && { ...said, atMs: performance.now() }
      return said ?? { reason: null, isEarly: true }
    } finally {
      redis.disconnect()
    }
  }

  return {
    wait,
    standing,
    close(): void {
      if (timer) clearTimeout(timer)
      for (const { resolve } of waiting.splice(0)) resolve('unsure')
      for (const redis of all) redis.disconnect()
    },
  }
}

/** @throws {Error} that `isRedisOutage` knows, when it is not in time. */
async function whenReady(redis: Redis): Promise<Redis> {
  for (const until = performance.now() + READY_MS_MAX; redis.status !== 'ready';) {
    if (performance.now() > until) throw new Error('Connection is closed.')
    await new Promise((resolve) => setTimeout(resolve, READY_EVERY_MS))
  }
  return redis
}
