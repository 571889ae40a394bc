import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { eventually } from '../support/eventually.ts'
import { startProcess, type TestProcess } from '../support/processes.ts'
import { environment } from '../support/redis-process.ts'

const COMMAND = fileURLToPath(new URL('../../cli/byok-gateway.mjs', import.meta.url))

/** A data folder and a keys folder of the test's own, and the command run on them as a process. */
export async function createMachine() {
  const folder = await mkdtemp(join(tmpdir(), 'byok-test-machine-'))
  const processes: TestProcess[] = []
  const env: Record<string, string> = {
    ...environment(),
    PORT: '0',
    GATEWAY_DATA_DIR: join(folder, 'data'),
    GATEWAY_KEYS_DIR: join(folder, 'keys'),
    // A killed worker's job is noticed in seconds.
    GATEWAY_LOCK_MS: '6000',
    GATEWAY_STALLED_CHECK_MS: '600',
    GATEWAY_LEASE_MS: '5000',
    GATEWAY_HEARTBEAT_MS: '1000',
  }

  function command(args: string[], extra: Record<string, string> = {}): TestProcess {
    const started = startProcess(process.execPath, [COMMAND, ...args], {
      env: { ...env, ...extra },
      cwd: folder,
    })
    processes.push(started)
    return started
  }

  return {
    folder,
    env,
    command,

    /** Runs a command to its end. */
    async run(args: string[], extra: Record<string, string> = {}) {
      const one = command(args, extra)
      return { code: await one.ended(), output: one.output() }
    },

    /** Runs `start` until it says that the gateway is ready. */
    async start(args: string[] = [], extra: Record<string, string> = {}) {
      const one = command(['start', ...args], extra)
      const url = await eventually('the gateway is ready', () => {
        if (one.hasEnded()) throw new Error(`it ended: ${one.output()}`)
        return /is ready: (http:\S+)/.exec(one.output())?.[1]
      })
      return {
        url,
        process: one,
        output: one.output,
        /** The process that runs now as `Redis`, `API` or `worker`. */
        pidOf: (name: string) => pidsOf(one.output(), name).at(-1) ?? -1,
        pids: () => pidsOf(one.output()),
        async interrupt() {
          one.kill('SIGINT')
          return one.ended()
        },
      }
    },

    async cleanup() {
      for (const one of processes) if (!one.hasEnded()) one.kill('SIGTERM')
      await Promise.all(processes.map((one) => one.ended()))
      // Where a test failed between a kill and the next start, its Redis still runs.
      const leftover = await readFile(join(folder, 'data', 'redis.json'), 'utf8').catch(() => '')
      const pid = /"pid":(\d+)/.exec(leftover)?.[1]
      if (pid && isRunning(Number(pid))) process.kill(Number(pid), 'SIGKILL')
      await rm(folder, { recursive: true, force: true })
    },
  }
}

export type Machine = Awaited<ReturnType<typeof createMachine>>
export type RunningMachine = Awaited<ReturnType<Machine['start']>>

/** From the log: `{"child":"API","childPid":123,…}`. */
function pidsOf(output: string, name?: string): number[] {
  const children = [...output.matchAll(/"child":"([^"]+)","childPid":(\d+)/g)]
  return children.filter((match) => !name || match[1] === name).map((match) => Number(match[2]))
}

/** Whether a process still runs; one that has ended and was not yet asked for its end does not. */
export function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}
