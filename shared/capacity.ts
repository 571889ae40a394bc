import type { Redis } from 'ioredis'
import { StorageFullError, StorageReadonlyError } from './errors.ts'
import type { Keys } from './keys.ts'
import type { Logger } from './log.ts'
import { isRedisOutage, refusedWrite } from './redis-check.ts'
import { readMemory, type RedisMemory } from './redis-memory.ts'
import { nodesOf } from './redis.ts'

const READ_EVERY_MS = 1_000
/** So much of the maximum below the mark it opens again: else each result that goes would let one submit in. */
const REOPEN_BELOW = 0.05
/** What a record, its places in sorted sets and its queue entry take beside what is in it. */
const RECORD_BYTES = 2 * 1024
/** Another reading is taken when this part of the room that the last one showed was given away. */
const READ_AGAIN_AFTER = 1 / 8

/** Whether submits are stored. `full`: Redis is filled up to its mark; `readonly`: it can't save, and takes no writes. */
export type StorageState = 'open' | 'full' | 'readonly'

/**
 * Admission by memory (docs/decisions/0023): above a mark of Redis' memory nothing new is stored, so that all that was
 * accepted has room to end. What is kept free for the results of accepted jobs counts as taken. The memory is read
 * beside the calls, never on their way; what this process stored since the last reading is added to it, and much of it makes
 * the next one come sooner.
 *
 * Whoever stores what a client submits asks `check` first and tells `note` what it stores: `jobs.create`, `batches.create`,
 * `files.reserve`, credentials. Reads, cancels, deletes and all that workers do never ask.
 */
export function createCapacity(deps: {
  redis: Redis
  /** Of all shards. */
  keys: readonly Keys[]
  log: Logger
  /** Part of the maximum above which nothing is accepted. */
  highWater: number
  /** The maximum where Redis has no `maxmemory`; null: without either there is no mark. */
  bytesMax: number | null
  everyMs?: number
}) {
  const { redis, keys, log, highWater, everyMs = READ_EVERY_MS } = deps
  let state: StorageState = 'open'
  let memory: RedisMemory = { usedBytes: 0, bytesMax: null }
  let reservedBytes = 0
  let storedBytes = 0
  let timer: NodeJS.Timeout | null = null
  let reading: Promise<void> | null = null
  let isClosed = false

  async function readNow(): Promise<void> {
    const storedBefore = storedBytes
    const [now, reserved, isReadonly] = await Promise.all([
      readMemory(redis),
      readReserved(),
      refusesWrites(redis),
    ])
    memory = { ...now, bytesMax: now.bytesMax ?? deps.bytesMax }
    reservedBytes = reserved
    // What was stored while the answer was on its way may not be in it.
    storedBytes -= storedBefore
    judge(isReadonly)
  }

  /** What is kept free for results, of all that lies on one node: the shards are taken to be spread evenly. */
  async function readReserved(): Promise<number> {
    const all = await Promise.all(keys.map(({ account }) => redis.hget(account('*'), 'reserved')))
    return (
      all.reduce((sum, bytes) => sum + Number(bytes ?? 0), 0) / Math.min(keys.length, nodesOf(redis).length)
    )
  }

  /** How much more may be taken until nothing is accepted. */
  function roomBytes(part: number): number {
    if (memory.bytesMax === null) return Infinity
    return part * memory.bytesMax - memory.usedBytes - reservedBytes - storedBytes
  }

  function judge(isReadonly: boolean): void {
    const before = state
    const part = before === 'full' ? highWater - Math.min(REOPEN_BELOW, highWater / 10) : highWater
    const isFull = roomBytes(part) <= 0
    state = isReadonly ? 'readonly' : isFull ? 'full' : 'open'
    if (state === before) return
    const facts = { used_bytes: memory.usedBytes, reserved_bytes: reservedBytes, bytes_max: memory.bytesMax }
    log[state === 'open' ? 'info' : 'warn'](facts, NEWS[state])
  }

  // While Redis is away nothing can be accepted anyway: what was known last stands.
  function read(): Promise<void> {
    reading ??= readNow()
      .catch((error: unknown) => {
        if (!isRedisOutage(error)) log.warn({ err: error }, 'The memory of Redis could not be read')
      })
      .finally(() => (reading = null))
    return reading
  }

  function schedule(): void {
    timer = setTimeout(() => void read().finally(() => void (isClosed || schedule())), everyMs)
  }

  function check(): void {
    if (state === 'full') throw new StorageFullError()
    if (state === 'readonly') throw new StorageReadonlyError()
  }

  return {
    /** Takes the first reading, then goes on. */
    async start(): Promise<void> {
      await read()
      if (!isClosed) schedule()
    },

    state: (): StorageState => state,

    /** @throws {StorageFullError} @throws {StorageReadonlyError} when nothing is to be stored. */
    check,

    /** As `check`, but what is found under one of these keys was stored before, and is only to be found again. */
    async checkUnlessThere(found: readonly string[]): Promise<void> {
      if (state !== 'open' && (await redis.exists(...found)) === 0) check()
    },

    /** Counts what is about to be stored, with what is kept free for its result. */
    note(bytes: number): void {
      storedBytes += bytes + RECORD_BYTES
      const left = roomBytes(highWater)
      if (left <= 0) judge(state === 'readonly')
      if (storedBytes >= (left + storedBytes) * READ_AGAIN_AFTER) void read()
    },

    close(): void {
      isClosed = true
      if (timer) clearTimeout(timer)
    },
  }
}

export type Capacity = ReturnType<typeof createCapacity>
/** What a store asks before it stores. */
export type Admitter = Pick<Capacity, 'check' | 'checkUnlessThere' | 'note'>

const NEWS: Record<StorageState, string> = {
  open: 'Redis has room again: submits are accepted',
  full: 'Redis is filled up to its mark: submits are refused until there is room',
  readonly: 'Redis can not save to its disk and takes no writes: nothing is accepted, and nothing goes on',
}

// Redis refuses a PING as it does a write when it can't save; a full one does not. In a cluster any node may be a job's.
async function refusesWrites(redis: Redis): Promise<boolean> {
  try {
    await Promise.all(nodesOf(redis).map((node) => node.ping()))
    return false
  } catch (error) {
    if (refusedWrite(error) !== 'readonly') throw error
    return true
  }
}
