import type { Redis } from 'ioredis'
import type { FedChunk } from './batch-queue.ts'
import type { Keys } from '../keys.ts'
import { redisNowMs } from '../redis.ts'
import { createScript } from '../scripts.ts'
import { UNCLAIMED_MS } from '../jobs/window.ts'

// A chunk is long enough that its entry costs little beside its lines, and short enough that its place is free again in
// about two service times.
const CHUNK_LINES_MAX = 100
const CHUNK_WIDTH_MAX = 50

/** How many lines of a chunk are in flight at once, as far as its batch and its tenant have room; `feed-chunks.lua` goes by it. */
export function chunkWidth(slots: number): number {
  return Math.max(1, Math.min(CHUNK_WIDTH_MAX, Math.floor(slots / 8)))
}

/** A batch that the sweeper is to look at: its deadline passed, or it ended and its retention is over. */
export type DueBatch = { id: string; tenant: string | null; owner: string | null; hasEnded: boolean }

/**
 * The fair way of batches to the workers (docs/decisions/0017): batches stand in per-owner lines, and chunks of their lines
 * are cut round robin while there is room for more lines in flight.
 *
 * @param now Milliseconds; a clock that tests hold still. Redis's own when absent.
 */
export function createBatchWindow(redis: Redis, keys: Keys, now: () => number | '' = () => '') {
  const feedChunks = createScript(redis, 'feed-chunks')
  const wakeBatches = createScript(redis, 'wake-batches')
  const wakeLines = createScript(redis, 'wake-lines')
  const refeedChunk = createScript(redis, 'refeed-chunk')
  const forgetBatch = createScript(redis, 'forget-batch')

  return {
    /** Cuts chunks while there is room, at most `chunksMax`; the caller enqueues them. */
    async feed(chunksMax = 100): Promise<FedChunk[]> {
      const reply = await feedChunks(
        [
          keys.batchWindow, keys.batchBusy, keys.batchTenants, keys.slots, keys.turns, keys.concurrency, keys.busy,
        ], // oxfmt-ignore
        [now(), chunksMax, UNCLAIMED_MS, CHUNK_LINES_MAX, CHUNK_WIDTH_MAX, ...keys.batchPrefixes],
      )
      const flat = (reply as Buffer[]).map(String) // pairs, see the script
      const fed: FedChunk[] = []
      for (let at = 0; at < flat.length; at += 2) {
        fed.push({ batchId: flat[at] ?? '', chunk: flat[at + 1] ?? '', generation: 1 })
      }
      return fed
    },

    /** Lets batches whose parked lines are due stand in line again. @returns how many tenants have batches that wait. */
    async wake(batchesMax = 1000): Promise<number> {
      const args = [now(), batchesMax, ...keys.batchPrefixes]
      return Number(await wakeBatches([keys.batchParkedDue, keys.batchTenants], args))
    },

    /**
     * Lets parked lines among these go on at once, and tells workers in whose hands the others are.
     * @param lineIds `batch_req_<batch>_<line>`, as deployments know their holders.
     * @returns ids of those that have ended or will not be run.
     */
    async wakeLines(lineIds: readonly string[]): Promise<string[]> {
      if (lineIds.length === 0) return []
      const places = lineIds.flatMap((id) => {
        const [, batch, line] = LINE_ID.exec(id) ?? []
        return [`batch_${batch ?? ''}`, line ?? '0', id]
      })
      const [batches = '', , parked = ''] = keys.batchPrefixes
      const reply = await wakeLines(
        [keys.batchParkedDue],
        [now(), batches, parked, keys.batchDone(''), keys.wakeChannel, ...places],
      )
      return (reply as Buffer[]).map(String)
    },

    /** A new generation for a chunk whose queue entry is gone, or null when nothing is to be done. */
    async refeed({ batchId, chunk, generation }: FedChunk): Promise<FedChunk | null> {
      const reply = await refeedChunk(
        [keys.batchChunk(batchId, chunk), keys.batchWindow],
        [now(), `${batchId} ${chunk}`, generation, UNCLAIMED_MS],
      )
      return Number(reply) === 0 ? null : { batchId, chunk, generation: Number(reply) }
    },

    /** A chunk that nobody has claimed only waits for its turn: it is looked at again later, after those that may be lost. */
    async putOff({ batchId, chunk }: FedChunk): Promise<void> {
      // Of one that was claimed the time is its lease's.
      if ((await redis.hexists(keys.batchChunk(batchId, chunk), 'token')) === 1) return
      const atMs = (await clock()) + UNCLAIMED_MS
      await redis.zadd(keys.batchWindow, 'XX', 'GT', atMs, `${batchId} ${chunk}`)
    },

    /** Chunks that nobody claimed in time, or whose claim was not renewed. */
    async overdue(chunksMax = 100): Promise<FedChunk[]> {
      const members = await redis.zrangebyscore(
        keys.batchWindow,
        '-inf',
        await clock(),
        'LIMIT',
        0,
        chunksMax,
      )
      return Promise.all(
        members.map(async (member) => {
          const [batchId = '', chunk = ''] = member.split(' ')
          const generation = Number(await redis.hget(keys.batchChunk(batchId, chunk), 'generation'))
          return { batchId, chunk, generation }
        }),
      )
    },

    /** Batches to look at. */
    async due(batchesMax = 100): Promise<DueBatch[]> {
      const ids = await redis.zrangebyscore(keys.batchDue, '-inf', await clock(), 'LIMIT', 0, batchesMax)
      return Promise.all(
        ids.map(async (id) => {
          const [tenant = null, owner = null, ended] = await redis.hmget(
            keys.batch(id),
            'tenant',
            'owner',
            'ended',
          )
          return { id, tenant, owner, hasEnded: tenant === null || typeof ended === 'string' }
        }),
      )
    },

    /** These are due again in `waitMs`, unless they are forgotten before. */
    async lookAgain(batches: readonly DueBatch[], waitMs: number): Promise<void> {
      const dueAt = (await clock()) + waitMs
      await redis.zadd(keys.batchDue, 'XX', ...batches.flatMap(({ id }) => [dueAt, id]))
    },

    /** Forgets an ended batch whose retention is over, with its place in its tenant's list. */
    async forget({ id, tenant }: DueBatch): Promise<boolean> {
      const batchKeys = [keys.batch(id), keys.batchIndex(tenant ?? ''), keys.batchDue]
      return Number(await forgetBatch(batchKeys, [now(), id])) === 1
    },
  }

  async function clock(): Promise<number> {
    const held = now()
    return held === '' ? redisNowMs(redis) : held
  }
}

export type BatchWindow = ReturnType<typeof createBatchWindow>

const LINE_ID = /^batch_req_([^_]+)_(\d+)$/
