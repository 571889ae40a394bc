import type { FedJob, JobEntry } from '../shared/jobs/queues.ts'
import type { Logger } from '../shared/log.ts'
import type { RunOutcome } from './run-record.ts'
import type { Slots } from './slots.ts'

// Nearly always a slot comes free sooner than another worker could be handed the entry.
const PATIENCE_MS = 250

/**
 * Takes the jobs of queue entries. An entry has done its duty when its jobs are claimed: from then on each is held by its lease,
 * whose end is the alarm in the window. So BullMQ holds nothing for as long as calls take.
 *
 * @param deps.run Runs one job, and says by `onClaimed` when it is claimed, or need not be.
 */
export function createEntries(deps: {
  slots: Slots
  run: (fed: FedJob, onClaimed: () => void) => Promise<RunOutcome>
  log: Logger
}) {
  const { slots, log } = deps

  /**
   * @returns false when there was no slot for some of its jobs: the entry is somebody else's. Those that were claimed are in hand.
   * @throws what kept a job from being claimed.
   */
  async function take({ jobs }: JobEntry): Promise<boolean> {
    const taken = await Promise.allSettled(jobs.map(([id, generation]) => takeJob({ id, generation })))
    for (const one of taken) if (one.status === 'rejected') throw one.reason
    return taken.every((one) => one.status === 'fulfilled' && one.value)
  }

  async function takeJob(fed: FedJob): Promise<boolean> {
    const slot = slots.forJob(PATIENCE_MS)
    if (!(slot === true || (await slot))) return false
    return new Promise((resolve, reject) => {
      let isClaimed = false
      const claimed = () => {
        isClaimed = true
        resolve(true)
      }
      deps
        .run(fed, claimed)
        .catch((error: unknown) => {
          if (!isClaimed) reject(error)
          else log.error({ err: error, job_id: fed.id }, 'A run failed; its job is taken up again')
        })
        .finally(() => slots.jobDone())
    })
  }

  return { take }
}

export type Entries = ReturnType<typeof createEntries>
