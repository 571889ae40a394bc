import { setTimeout as sleep } from 'node:timers/promises'
import { SyncWaitExceededError } from '../shared/errors.ts'
import type { JobInput, JobView, Jobs } from '../shared/jobs/jobs.ts'
import { isRedisOutage } from '../shared/redis-check.ts'
import { waitForEnd, type Watch } from '../shared/jobs/settled.ts'

const OUTAGE_PAUSE_MS = 250

/** Whether a call, sent again by its client, finds the job that it made. */
export function isFoundAgain({ idempotency, sameCall }: JobInput): boolean {
  return idempotency !== null || Boolean(sameCall)
}

/**
 * Waits for the end of a job that this very call has made. While Redis is away the wait goes on: the job does too, and
 * an error now would make the client send it again.
 *
 * @param wait `isFresh`: the job was created after the watch.
 * @returns what was read last, ended or not; null when there is no such record.
 * @throws {SyncWaitExceededError} when Redis is still away at the end of the wait.
 */
export async function awaitOwnJob(
  jobs: Jobs,
  input: JobInput,
  wait: { id: string; watch: Watch; waitMs: number; signal: AbortSignal; isFresh: boolean },
): Promise<JobView | null> {
  const untilMs = performance.now() + wait.waitMs
  const read = async (): Promise<JobView | null> => {
    const told = wait.watch.told?.()
    if (told) return jobs.readTold(input.tenant, wait.id, told)
    for (;;) {
      try {
        return await jobs.read(input.tenant, wait.id)
      } catch (error) {
        if (!isRedisOutage(error)) throw error
        if (wait.signal.aborted || performance.now() >= untilMs) {
          throw new SyncWaitExceededError(wait.id, isFoundAgain(input))
        }
      }
      await sleep(OUTAGE_PAUSE_MS)
    }
  }
  return waitForEnd({ ...wait, read })
}
