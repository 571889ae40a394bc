import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from '../shared/log.ts'
import type { ProcessExit, RunningProcess } from './running-process.ts'

const RESTART_DELAYS_MS = [500, 1000, 2000, 4000, 8000, 10_000]
/** A process that lived this long was well: its next crash starts the delays again. */
const HEALTHY_MS = 30_000

/** A process that is started again whenever it ends by itself. */
export type Supervised = {
  name: string
  pid(): number | undefined
  /** How the first run ended. */
  firstExit: Promise<ProcessExit>
  /** Asks the process to end and waits until it has; it is not started again. */
  stop(): Promise<void>
  /** As stop, without asking. */
  kill(): void
}

/** `isReady`: before the whole gateway is ready, an end is a failed start, and nothing is started again. */
export type SuperviseDeps = { log: Logger; isReady: () => boolean; restartDelaysMs?: readonly number[] }

/**
 * Starts a process and starts it again when it crashes, after a delay that grows with each crash, and says so in the
 * log. A start that fails counts as a crash, except the first one, which rejects.
 */
export async function supervise(
  name: string,
  launch: () => Promise<RunningProcess>,
  { log, isReady, restartDelaysMs = RESTART_DELAYS_MS }: SuperviseDeps,
): Promise<Supervised> {
  const stopping = new AbortController()
  const first = await launch()
  log.info({ child: name, childPid: first.pid }, `${name} started`)
  let current: RunningProcess | null = first
  const done = keepRunning(first)

  async function keepRunning(process: RunningProcess): Promise<void> {
    let restarts = 0
    let running: RunningProcess | null = process
    while (!stopping.signal.aborted) {
      const startedAtMs = performance.now()
      const exit = running ? await running.exited : null
      current = null
      if (stopping.signal.aborted || !isReady()) return
      if (performance.now() - startedAtMs > HEALTHY_MS) restarts = 0
      const restartInMs = restartDelaysMs[Math.min(restarts, restartDelaysMs.length - 1)] ?? 0
      restarts += 1
      const how = { child: name, exitCode: exit?.code, signal: exit?.signal, err: exit?.error, restartInMs }
      log.error(how, `${name} ended unexpectedly; starting it again in ${restartInMs / 1000} s`)
      await sleep(restartInMs, undefined, { signal: stopping.signal }).catch(() => {})
      if (!stopping.signal.aborted) running = await relaunch()
    }
  }

  async function relaunch(): Promise<RunningProcess | null> {
    try {
      const running = await launch()
      current = running
      if (stopping.signal.aborted) await running.stop()
      else log.info({ child: name, childPid: running.pid }, `${name} runs again`)
      return running
    } catch (error) {
      log.error({ err: error, child: name }, `${name} could not be started`)
      return null
    }
  }

  return {
    name,
    pid: () => current?.pid,
    firstExit: first.exited,
    async stop() {
      stopping.abort()
      await current?.stop()
      await done
    },
    kill() {
      stopping.abort()
      try {
        if (current) process.kill(current.pid, 'SIGKILL')
      } catch {
        // It has just ended by itself.
      }
    },
  }
}
