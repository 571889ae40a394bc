import type { Redis } from 'ioredis'
import { createGather } from '../gather.ts'
import type { Logger } from '../log.ts'
import { createScriptForEach, togetherOf, type ScriptCall } from '../scripts.ts'
import { entryWidth, firstEntryName, type FedJob, type JobQueue } from './queues.ts'
import type { Window } from './window.ts'

/** A job to be stored, as `create-job.lua` takes it; its fields end the arguments. */
type Submission = ScriptCall & { id: string; isDelayed: boolean }

/** What the script says: see there. */
type Reply = [kind: Buffer, ...(Buffer | number)[]]

/**
 * Stores jobs and enqueues those that have room in the window. What comes in one turn of the event loop goes together: one
 * script, one queue entry. While there is room the entry leaves right behind the script, before that is answered; should one of
 * its jobs then not be taken, or have to wait, whoever claims it is told so.
 */
export function createIntake(deps: { redis: Redis; queue: JobQueue; window: Window; log: Logger }) {
  const { queue, window, log } = deps
  const createJobs = createScriptForEach(deps.redis, 'create-job')
  let slots = 0
  let hasRoom = false

  const take = createGather(
    async (_: string, submissions: readonly Submission[]) => {
      const fed = inOneEntry(submissions)
      const stored = createJobs(
        submissions.map(({ id, keys, args }) => {
          const entry = fed.find((job, at) => at > 0 && job.id === id)?.entry
          return { keys, args: entry === undefined ? args : [...args, 'entry', entry] }
        }),
      )
      const isEarly = hasRoom && fed.length > 0
      // The script is on its way, and this goes by the same connection: no worker sees the entry before the records.
      if (isEarly) enqueue(async () => fed)
      const replies = (await stored) as (Reply | Error)[]
      placeAll(fed, submissions, replies, isEarly)
      return replies
    },
    (submissions) => togetherOf(submissions, entryWidth(slots)),
  )

  function placeAll(
    fed: readonly FedJob[],
    submissions: readonly Submission[],
    replies: readonly (Reply | Error)[],
    isEarly: boolean,
  ): void {
    const admitted = new Set<string>()
    let isWaiting = false
    submissions.forEach(({ id, isDelayed }, index) => {
      const reply = replies[index]
      if (!reply || reply instanceof Error || reply[0].toString() !== 'created') return
      slots = Number(reply[3])
      if (Number(reply[1]) > 0) admitted.add(id)
      else isWaiting ||= !isDelayed
    })
    // Of few slots a guess would often be wrong.
    hasRoom = admitted.size > 0 && admitted.size === fed.length && entryWidth(slots) > 1
    if (!isEarly && admitted.size > 0) enqueue(async () => fed.filter(({ id }) => admitted.has(id)))
    if (isWaiting) enqueue(() => window.feed())
  }

  // The records are written: from here on a failure delays the jobs, the sweeper enqueues them.
  function enqueue(jobs: () => Promise<readonly FedJob[]>): void {
    const add = async () => queue.add(await jobs())
    add().catch((error: unknown) =>
      log.warn({ err: error }, 'Jobs were accepted but not enqueued; the sweeper will'),
    )
  }

  /** @returns what the script says of this job. */
  return async function store(submission: Submission): Promise<Reply> {
    const reply = await take('all', submission)
    if (reply instanceof Error) throw reply
    return reply
  }
}

/** Those that may run at once, as jobs of one entry, which has a name of the first. */
function inOneEntry(submissions: readonly Submission[]): FedJob[] {
  const ids = submissions.filter(({ isDelayed }) => !isDelayed).map(({ id }) => id)
  const [first] = ids
  if (first === undefined) return []
  const entry = firstEntryName(first)
  return ids.map((id) => ({ id, generation: 1, entry }))
}
