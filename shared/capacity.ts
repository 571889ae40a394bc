import type { Redis } from 'ioredis'
import { StorageFullError } from './errors.ts'
import type { Keys } from './keys.ts'
import type { Logger } from './log.ts'
import { isRedisOutage } from './redis-check.ts'
import { readMemory } from './redis-memory.ts'

const READ_EVERY_MS = 1_000
/** Below the high mark by so much of the maximum it opens again: else each result that goes lets one submit in. */
const REOPEN_BELOW = 0.05
/** What a record, its places in sorted sets and its queue entry take beside the body. */
const RECORD_BYTES = 4 * 1024
/** A new reading is taken as soon as this part of the room that the last one showed was given away. */
const READ_AGAIN_AFTER = 1 / 8

/** How Redis' memory stands. `bytesMax` null: nobody said how much it may be. */
export type MemoryReading = { usedBytes: number; reservedBytes: number; bytesMax: number | null }

/**
 * Admission by memory (docs/decisions/0023): submits are refused above a mark of Redis' memory, so that what was accepted
 * can always end. Bytes that are kept free for results of accepted jobs count as used. Reading takes place beside the
 * calls, never on their way; what this process let in since the last reading is added to it.
 *
 * @param highWater Part of the maximum, 0 to 1, above which nothing is accepted.
 * @param bytesMax The maximum where Redis has no `maxmemory`; null: then there is no mark.
 */
export function createCapacity(deps: {
  redis: Redis
  keys: Keys
  log: Logger
  highWater: number
  bytesMax: number | null
  everyMs?: number
}) {
  const { redis, keys, log, highWater, everyMs = READ_EVERY_MS } = deps
  const account = keys.account('*')
  let last: MemoryReading = { usedBytes: 0, reservedBytes: 0, bytesMax: null }
  let acceptedBytes = 0
  let isFull = false
  let timer: NodeJS.Timeout | null = null
  let reading: Promise<void> | null = null
  let isClosed = false

  function takenBytes(): number {
    return last.usedBytes + last.reservedBytes + acceptedBytes
  }

  function judge(): void {
    const { bytesMax } = last
    const part = isFull ? Math.max(highWater - REOPEN_BELOW, highWater / 2) : highWater
    const nowFull = bytesMax !== null && takenBytes() >= part * bytesMax
    if (nowFull === isFull) return
    isFull = nowFull
    const facts = { used_bytes: last.usedBytes, reserved_bytes: last.reservedBytes, bytes_max: bytesMax }
    if (isFull) log.warn(facts, 'Redis is filled up to its mark: nothing is accepted until there is room')
    else log.info(facts, 'Redis has room again: jobs are accepted')
  }

  async function readNow(): Promise<void> {
    const countedBefore = acceptedBytes
    const [memory, reserved] = await Promise.all([readMemory(redis), redis.hget(account, 'reserved')])
    const { usedBytes, maxBytes } = memory
    last = {
      usedBytes,
      reservedBytes: Math.max(0, Number(reserved ?? 0)),
      bytesMax: maxBytes > 0 ? maxBytes : deps.bytesMax,
    }
    // What was let in while the answer was on its way may not be in it yet.
    acceptedBytes -= countedBefore
    judge()
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

  return {
    /** Takes the first reading, then goes on. */
    async start(): Promise<void> {
      await read()
      if (!isClosed) schedule()
    },

    isFull: (): boolean => isFull,

    /**
     * Lets a submit in that takes about so many bytes, those that are kept free for its result included.
     * @throws {StorageFullError} above the mark.
     */
    check(bytes = 0): void {
      if (isFull) throw new StorageFullError()
      const { bytesMax } = last
      if (bytesMax === null) return
      const room = highWater * bytesMax - last.usedBytes - last.reservedBytes
      acceptedBytes += bytes + RECORD_BYTES
      judge()
      if (acceptedBytes >= room * READ_AGAIN_AFTER) void read()
    },

    close(): void {
      isClosed = true
      if (timer) clearTimeout(timer)
    },
  }
}

export type Capacity = ReturnType<typeof createCapacity>
