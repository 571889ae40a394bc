import { setTimeout as pause } from 'node:timers/promises'
import type { Redis } from 'ioredis'
import { isRedisOutage } from './redis-check.ts'

// Under `everysec` one fsync follows another after a second: two writes, one after the other, can't both be on the disk in less.
const EVERYSEC_MS_MIN = 500
const TRIALS = 3
/** In so long a server that syncs every second has begun to sync what was written before, if it was free to. */
const BEGUN_MS = 2_000
const LOOK_EVERY_MS = 100
const MARK_MS = 60_000

/** What a server makes of `WAITAOF`. */
export type SyncStanding = {
  /** Why it can't be asked, in a few words; null: it can. */
  reason: string | null
  /**
   * It says "synced" of what is only written: Redis from 7.2.2 up to 8.0 and Valkey, with `appendfsync everysec`.
   * @see https://github.com/redis/redis/pull/13793
   */
  isEarly: boolean
}

/**
 * Tries what a server does, since versions and settings tell it of some only. Takes two seconds where it does it right.
 * @returns null when its disk is too slow to tell.
 * @throws {Error} that `isRedisOutage` knows.
 */
export async function trySync(node: Redis, mark: string, timeoutMs: number): Promise<SyncStanding | null> {
  try {
    await node.call('WAITAOF', 1, 0, 1)
    const mode = await syncMode(node)
    if (mode === 'always') return { reason: null, isEarly: false }
    if (mode === 'no')
      return { reason: 'Redis leaves its append-only file to the system (appendfsync no)', isEarly: false }
    for (let trial = 0; trial <= TRIALS; trial += 1) {
      const beganAt = performance.now()
      if (!(await waitForAof(node, mark, timeoutMs))) return null
      const tookMs = performance.now() - beganAt
      // The first may come just before a sync that was due.
      if (trial > 0 && tookMs < EVERYSEC_MS_MIN) return { reason: null, isEarly: true }
      if (trial > 0 && tookMs > BEGUN_MS / 3) return { reason: null, isEarly: false }
    }
    return { reason: null, isEarly: true }
  } catch (error) {
    if (!(error instanceof Error) || isRedisOutage(error)) throw error
    return { reason: reasonOf(error), isEarly: false }
  }
}

/**
 * Waits until the append-only file is on the disk with what was written before.
 * @returns false when it is not known to be in time, or the connection broke meanwhile.
 */
export async function syncAof(
  node: Redis,
  mark: string,
  options: { isEarly: boolean; timeoutMs: number },
): Promise<boolean> {
  let isSameServer = true
  // Whoever answers behind the next connection may have been killed meanwhile, and knows nothing of what was there before.
  const changed = (): void => void (isSameServer = false)
  node.once('close', changed)
  try {
    return (await isSynced(node, mark, options)) && isSameServer
  } finally {
    node.off('close', changed)
  }
}

async function isSynced(
  node: Redis,
  mark: string,
  { isEarly, timeoutMs }: { isEarly: boolean; timeoutMs: number },
): Promise<boolean> {
  if (!(await waitForAof(node, mark, timeoutMs))) return false
  if (!isEarly) return true
  // Its word says only that it is written. A sync that was under way may have begun before; when that is over, the next one
  // has begun within a second, and when no one is under way after that, ours is done.
  const until = performance.now() + timeoutMs
  if (!(await isIdle(node, until))) return false
  await pause(BEGUN_MS)
  // One more turn of the server, in which it begins what is due, before it is asked.
  await node.ping()
  return isIdle(node, until + BEGUN_MS)
}

async function waitForAof(node: Redis, mark: string, timeoutMs: number): Promise<boolean> {
  // A wait is for the writes of its own connection, and whatever the server took before them.
  const [, reply] = await Promise.all([
    node.set(mark, '', 'PX', MARK_MS),
    node.call('WAITAOF', 1, 0, timeoutMs),
  ])
  const [local] = reply as [number, number] // its own file, and replicas
  return local > 0
}

/** Null: managed servers may not say. */
async function syncMode(node: Redis): Promise<string | null> {
  const said = await node.config('GET', 'appendfsync').catch((error: unknown) => {
    if (isRedisOutage(error)) throw error
    return []
  })
  const [, mode] = Array.isArray(said) ? said : Object.entries(said).flat()
  return typeof mode === 'string' ? mode : null
}

async function isIdle(node: Redis, until: number): Promise<boolean> {
  for (;;) {
    const info = await node.info('persistence')
    if (/^aof_pending_bio_fsync:0\r?$/m.test(info)) return true
    if (performance.now() > until) return false
    await pause(LOOK_EVERY_MS)
  }
}

function reasonOf({ message }: Error): string {
  if (/unknown command/i.test(message)) return 'Redis is older than 7.2'
  if (/appendonly is disabled/i.test(message)) return 'Redis has its append-only file off'
  if (message.startsWith('NOPERM')) return 'the login to Redis may not use WAITAOF'
  return 'Redis refuses WAITAOF'
}
