import type { Redis } from 'ioredis'
import type { Ids } from '../ids.ts'
import { LIST_FIELDS, parseRecord, type JobMeta, type JobView } from './job-record.ts'
import { parseMeta } from './record-texts.ts'
import type { Keys } from '../keys.ts'
import { parseJsonLossless } from '../lossless-json.ts'
import type { Job } from '../schemas/job.ts'
import { EventType } from '../schemas/webhook.ts'
import { createScript } from '../scripts.ts'
import type { Sealer } from '../seal.ts'
import type { Settle } from './settle.ts'
import type { Window } from './window.ts'

/** How the waiting sets of owners are scored (create-job.lua), and how the turns of one are shared (next-of.lua). */
const CLASSES = { high: 0, normal: 1, low: 2 } as const
const CLASS_SPAN = 1e14
const SHARES = [8, 4, 1] as const

/** What the end of a job can be told as. */
const TOLD = EventType.options.filter((type) => /^(job|response)\./.test(type))

/** An ended job as a retry needs it. */
export type RetrySource = {
  job: Job
  mode: JobView['mode']
  meta: JobMeta
  /** What its provider was asked; null when that is erased, as it is when a job completes. */
  request: Record<string, unknown> | null
  /** It keeps what was asked beyond its end. */
  keepsRequest: boolean
  /** Fields of the gateway that it came with. */
  asked: Record<string, unknown>
}

/** What a job's owner can have done to it: its cancel, its removal, its retry; and where it stands in line. */
export function createJobControl(deps: {
  redis: Redis
  keys: Keys
  sealer: Sealer
  ids: Ids
  window: Window
  settle: Settle
}) {
  const { redis, keys, sealer } = deps
  const cancelJob = createScript(redis, 'cancel-job')

  async function isOwn(tenant: string, id: string): Promise<boolean> {
    const [owner, deleted] = await redis.hmget(keys.job(id), 'tenant', 'deleted')
    return owner === tenant && deleted === null
  }

  async function call(tenant: string, id: string, isForGood: boolean): Promise<void> {
    const keysOfJob = [keys.job(id), keys.window, keys.index(tenant), keys.stream(id)]
    for (;;) {
      const reply = await cancelJob(keysOfJob, ['', id, keys.cancelChannel, isForGood ? '1' : '0'])
      if (String(reply) !== 'free') return
      // A worker may have taken it between the two scripts: then it is that worker which must be told.
      const { result } = await deps.settle.free(id, 'cancelled')
      if (result.kind !== 'held') return
    }
  }

  // A result that its own webhook asked for stands in the delivery: one that still goes out goes without it.
  async function eraseTold(id: string): Promise<void> {
    const told = TOLD.map((type) => keys.delivery(deps.ids.deliveryId(deps.ids.eventId(id, type), 'job')))
    await Promise.all(told.map((delivery) => redis.hdel(delivery, 'body')))
  }

  return {
    /**
     * Cancels a job: at once when no worker holds it, else its worker aborts the call and settles it. An ended job stays
     * as it is.
     * @returns false when there is no such job of the tenant.
     */
    async cancel(tenant: string, id: string): Promise<boolean> {
      if (!(await isOwn(tenant, id))) return false
      await call(tenant, id, false)
      return true
    },

    /**
     * Takes a job away with all it holds, whatever it is at. One that runs is cancelled; from now on nobody finds it, and its
     * record goes as soon as its worker has let go of it.
     * @returns false when there is no such job of the tenant.
     */
    async remove(tenant: string, id: string): Promise<boolean> {
      if (!(await isOwn(tenant, id))) return false
      await call(tenant, id, true)
      await deps.window.forget(id, tenant, { isDue: true })
      // Who is about to announce it and has read its result makes no delivery from here on; one that is there is emptied.
      await redis.zrem(keys.announce, id)
      await eraseTold(id)
      return true
    },

    /** The job with what a retry of it needs; null when there is no such job of the tenant. */
    async readForRetry(tenant: string, id: string): Promise<RetrySource | null> {
      const [meta, req, kept, asked, ...fields] = await redis.hmgetBuffer(
        keys.job(id), 'meta', 'req', 'kept', 'asked', ...LIST_FIELDS,
      ) // oxfmt-ignore
      const view = parseRecord(id, fields, sealer)
      if (view?.tenant !== tenant || !meta) return null
      const sealed = sealer.record({ tenant, kind: 'job', id })
      const open = (field: string, value: Buffer | null | undefined) =>
        value ? (parseJsonLossless(sealed.open(field, value).toString()) as Record<string, unknown>) : null // as it was written
      return {
        job: view.job,
        mode: view.mode,
        meta: parseMeta(meta.toString()),
        request: open('req', req),
        keepsRequest: Boolean(kept),
        asked: open('asked', asked) ?? {},
      }
    },

    /**
     * Where a job stands among its owner's waiting ones, 1 is next; null when it stands in no line. With several priorities in
     * line it is an estimate, by their shares of the turns.
     */
    async positionOf({ tenant, job }: JobView): Promise<number | null> {
      if (job.status !== 'queued' || job.queue.state !== 'waiting') return null
      const line = keys.waiting(tenant, deps.ids.ownerId(tenant, job.customer))
      const [rank, high, notLow, all] = await Promise.all([
        redis.zrank(line, job.id),
        redis.zcount(line, '-inf', `(${CLASS_SPAN}`),
        redis.zcount(line, '-inf', `(${2 * CLASS_SPAN}`),
        redis.zcard(line),
      ])
      if (rank === null) return null
      return placeInLine(rank, CLASSES[job.priority], [high, notLow - high, all - notLow])
    },
  }
}

export type JobControl = ReturnType<typeof createJobControl>

/** @param rank In the order of priority and age. @param counts Jobs in line, by priority. */
function placeInLine(rank: number, own: 0 | 1 | 2, counts: readonly [number, number, number]): number {
  const before = counts.slice(0, own).reduce((sum, count) => sum + count, 0)
  const turns = Math.max(1, rank - before + 1)
  const others = counts.map((count, at) =>
    at === own ? 0 : Math.min(count, Math.floor((turns * (SHARES[at] ?? 0)) / SHARES[own])),
  )
  return others.reduce((sum, count) => sum + count, turns)
}
