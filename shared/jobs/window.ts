import type { Redis } from 'ioredis'
import type { Keys } from '../keys.ts'
import { ENTRY_JOBS_MAX, firstEntryName, SLOTS_PER_JOB, type FedJob } from './queues.ts'
import { redisNowMs } from '../redis.ts'
import { TERMINAL_STATUSES } from '../schemas/job.ts'
import { createScript } from '../scripts.ts'

/** How long a job is kept whose result was delivered and is to be kept no longer: whoever lost it on the way may ask again. */
const DELIVERED_KEPT_MS = 5_000

/** A queue entry that no worker claimed within this time is looked for, in milliseconds. */
export const UNCLAIMED_MS = 3_000

/**
 * The window of jobs that are in BullMQ or running, and the fair way into it (docs/decisions/0002): waiting jobs stand in per-owner
 * sets, and only about as many as there are slots are let in, round robin.
 *
 * @param now Milliseconds; a clock that tests hold still. Redis's own when absent.
 */
export function createWindow(redis: Redis, keys: Keys, now: () => number | '' = () => '') {
  const feedJobs = createScript(redis, 'feed-jobs')
  const wakeJobs = createScript(redis, 'wake-jobs')
  const wakeNamed = createScript(redis, 'wake-named-jobs')
  const refeedJob = createScript(redis, 'refeed-job')
  const beatWorker = createScript(redis, 'beat-worker')
  const holdSweeper = createScript(redis, 'hold-sweeper')
  const forgetJob = createScript(redis, 'forget-job')
  const releaseJob = createScript(redis, 'release-job')
  const prefixes = [keys.ownersPrefix, keys.waitingPrefix, keys.jobPrefix]

  return {
    /** Lets in waiting jobs, at most `jobsMax`; the caller enqueues them. */
    async feed(jobsMax = 100): Promise<FedJob[]> {
      const { window, busy, tenants, slots, concurrency, batchBusy, turns } = keys
      const windowKeys = [window, busy, tenants, slots, concurrency, batchBusy, turns]
      const widths = [ENTRY_JOBS_MAX, SLOTS_PER_JOB]
      const reply = await feedJobs(windowKeys, [now(), jobsMax, ...prefixes, UNCLAIMED_MS, ...widths])
      const flat = reply as (Buffer | number)[] // id, generation and entry of each, see the script
      const fed: FedJob[] = []
      for (let at = 0; at < flat.length; at += 3) {
        fed.push({ id: String(flat[at]), generation: Number(flat[at + 1]), entry: String(flat[at + 2]) })
      }
      return fed
    },

    /** Moves parked jobs that are due back among the waiting. */
    async wake(jobsMax = 1000): Promise<{ woken: number; tenantsWaiting: number; nextDueMs: number | null }> {
      const reply = await wakeJobs([keys.parked, keys.tenants], [now(), jobsMax, ...prefixes])
      const [woken = 0, tenantsWaiting = 0, nextDueMs = -1] = reply as number[] // see the script
      return { woken, tenantsWaiting, nextDueMs: nextDueMs < 0 ? null : nextDueMs }
    },

    /**
     * Lets parked jobs among these go on at once, and tells workers in whose hands the others are.
     * @returns ids of those that have ended or are gone.
     */
    async wakeNow(ids: readonly string[]): Promise<string[]> {
      const reply = await wakeNamed([keys.parked, keys.tenants], [...prefixes, keys.wakeChannel, ...ids])
      return (reply as Buffer[]).map(String)
    },

    /** A new generation for a job whose queue entry is gone, or null when nothing is to be done. */
    async refeed(job: FedJob): Promise<FedJob | null> {
      const reply = await refeedJob(
        [keys.job(job.id), keys.window],
        [now(), job.id, job.generation, UNCLAIMED_MS],
      )
      return Number(reply) === 0 ? null : { id: job.id, generation: Number(reply) }
    },

    /** Counts a worker's slots in for as long as it keeps saying so; 0 slots says that it leaves. */
    async beat(workerId: string, slots: number, silenceMs: number): Promise<number> {
      const workerKeys = [keys.workers, keys.workerSlots, keys.slots]
      return Number(await beatWorker(workerKeys, [now(), workerId, slots, silenceMs]))
    },

    /** Whether this worker is the one that feeds and sweeps, for the next `leaseMs`. */
    async holdSweeper(workerId: string, leaseMs: number): Promise<boolean> {
      return Number(await holdSweeper([keys.sweeper], [workerId, leaseMs])) === 1
    },

    /** Jobs of the window that nobody claimed in time, or whose claim was not renewed; with their generation. */
    async overdue(jobsMax = 100): Promise<FedJob[]> {
      const ids = await redis.zrangebyscore(keys.window, '-inf', await clock(), 'LIMIT', 0, jobsMax)
      const records = await Promise.all(ids.map((id) => redis.hmget(keys.job(id), 'generation', 'entry')))
      return ids.map((id, index) => {
        const [generation, entry] = records[index] ?? []
        // Nothing is noted of the first of those that were enqueued as soon as they were stored.
        return { id, generation: Number(generation ?? 0), entry: entry ?? firstEntryName(id) }
      })
    },

    /** Jobs to look at: their deadline passed, or they ended and their retention is over. */
    async due(jobsMax = 200): Promise<{ id: string; tenant: string | null; isTerminal: boolean }[]> {
      const ids = await redis.zrangebyscore(keys.due, '-inf', await clock(), 'LIMIT', 0, jobsMax)
      const records = await Promise.all(ids.map((id) => redis.hmget(keys.job(id), 'tenant', 'status')))
      return ids.map((id, index) => {
        const [tenant = null, status] = records[index] ?? []
        return { id, tenant, isTerminal: !status || TERMINAL_STATUSES.has(status) }
      })
    },

    /** The result of a job that is kept until then was delivered: the sweeper forgets it in a few seconds. */
    async release(id: string): Promise<void> {
      await releaseJob([keys.job(id), keys.due, keys.announce], [now(), id, DELIVERED_KEPT_MS])
    },

    /**
     * Forgets an ended job whose retention is over, with its place in its tenant's list.
     * @param options.isDue Its owner wants it gone, whatever its retention.
     */
    async forget(id: string, tenant: string | null, { isDue = false } = {}): Promise<boolean> {
      const jobKeys = [keys.job(id), keys.index(tenant ?? ''), keys.due, keys.stream(id)]
      return Number(await forgetJob(jobKeys, [now(), id, isDue ? '1' : '0', keys.accountPrefix])) === 1
    },
  }

  async function clock(): Promise<number> {
    const held = now()
    return held === '' ? redisNowMs(redis) : held
  }
}

export type Window = ReturnType<typeof createWindow>
