// Lines of batches leave a little to jobs that come at any moment, and more of it where jobs have just had to wait: a call
// can't be taken back from a line.
const LINES_SHARE_MAX = 0.95
const LINES_SHARE_WHILE_JOBS_WAIT = 0.7
const JOBS_WAITED_MS = 1_000

/** A line that stands in line. */
type Waiter = { take: () => void; giveUp: () => void }

/**
 * The calls that a process may have under way at once, of jobs and of lines of batches together. A free slot is a waiting job's
 * first, also of one that was left to other processes; lines have at most 95% of all, and 70% while jobs have to wait and for a
 * second after that.
 *
 * @param now Milliseconds of a clock that does not jump; tests hold it still.
 */
export function createSlots(total: number, now: () => number = () => performance.now()) {
  const jobsWaiting: ((isGiven: boolean) => void)[] = []
  const linesWaiting = new Set<Waiter>()
  const whenRoom: (() => void)[] = []
  let jobs = 0
  let lines = 0
  let jobsWaitedAt = Number.NEGATIVE_INFINITY
  let isDraining = false

  function linesMax(): number {
    const areJobsAway = whenRoom.length > 0
    const isBusy = areJobsAway || jobsWaiting.length > 0 || now() - jobsWaitedAt < JOBS_WAITED_MS
    const share = isBusy ? LINES_SHARE_WHILE_JOBS_WAIT : LINES_SHARE_MAX
    return Math.max(areJobsAway ? 0 : 1, Math.floor(total * share))
  }

  function hasRoom(): boolean {
    return jobs + lines < total
  }

  function handOn(): void {
    while (hasRoom()) {
      const job = jobsWaiting.shift()
      if (!job) break
      jobs++
      job(true)
    }
    while (hasRoom() && lines < linesMax()) {
      const [waiter] = linesWaiting
      if (!waiter) break
      lines++
      waiter.take()
    }
    if (whenRoom.length > 0 && hasRoom()) tellOfRoom()
  }

  // The slot is a job's, if one comes: what none takes lines have a little later.
  function tellOfRoom(): void {
    jobsWaitedAt = now()
    for (const tell of whenRoom.splice(0)) tell()
    setTimeout(handOn, JOBS_WAITED_MS).unref()
  }

  /** Calls back once, when a slot is free that no job here waits for: who had to leave jobs to others asks for them again. */
  function onRoom(tell: () => void): void {
    whenRoom.push(tell)
    handOn()
  }

  /** Takes a slot for a job. @returns false when there is none within `patienceMs`, or the process ends before. */
  function forJob(patienceMs: number): boolean | Promise<boolean> {
    if (hasRoom()) {
      jobs++
      return true
    }
    if (isDraining) return false
    jobsWaitedAt = now()
    return new Promise((resolve) => {
      const end = (isGiven: boolean) => {
        clearTimeout(timer)
        jobsWaitedAt = now()
        resolve(isGiven)
      }
      const timer = setTimeout(() => {
        jobsWaiting.splice(jobsWaiting.indexOf(end), 1)
        end(false)
      }, patienceMs)
      jobsWaiting.push(end)
    })
  }

  /** Gives back the slot of a job. */
  function jobDone(): void {
    jobs--
    handOn()
  }

  /** Takes a slot for a line, in the order of asking. @returns false when `signal` aborts before. */
  function forLine(signal: AbortSignal): boolean | Promise<boolean> {
    if (signal.aborted) return false
    if (linesWaiting.size === 0 && hasRoom() && lines < linesMax()) {
      lines++
      return true
    }
    return new Promise((resolve) => {
      const end = (isTaken: boolean) => () => {
        linesWaiting.delete(waiter)
        signal.removeEventListener('abort', waiter.giveUp)
        resolve(isTaken)
      }
      const waiter: Waiter = { take: end(true), giveUp: end(false) }
      linesWaiting.add(waiter)
      signal.addEventListener('abort', waiter.giveUp)
      handOn()
    })
  }

  /** Gives back the slot of a line. */
  function lineDone(): void {
    lines--
    handOn()
  }

  /** Jobs that wait for a slot are another process's: here they would begin when their calls have no time left. */
  function drain(): void {
    isDraining = true
    for (const job of jobsWaiting.splice(0)) job(false)
  }

  /** Slots that are taken, and what waits for one in this process. */
  function use(): { jobs: number; lines: number; waiting: number } {
    return { jobs, lines, waiting: jobsWaiting.length + linesWaiting.size }
  }

  return { forJob, jobDone, forLine, lineDone, hasRoom, onRoom, drain, use }
}

export type Slots = ReturnType<typeof createSlots>
