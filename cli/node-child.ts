import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { exitOf, type RunningProcess } from './running-process.ts'
import { cacheFolder } from './settings.ts'

/**
 * Starts one of our own processes (`api/main.ts`) on this Node. It gets its secrets by its environment only; a process
 * group of its own, so that a Ctrl-C does not reach it past the order in which we stop; and a channel by whose closing
 * it notices that we died, and ends.
 * @param file relative to the project's root.
 * @param stopTimeoutMs how long `stop` waits before it kills.
 */
export async function startNodeChild(
  file: string,
  environment: Record<string, string | undefined>,
  stopTimeoutMs: number,
): Promise<RunningProcess> {
  const path = fileURLToPath(new URL(`../${file}`, import.meta.url))
  const child = spawn(process.execPath, [...process.execArgv, path], {
    detached: true,
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    env: {
      // Compiled code from the last start: half of the time and of the processor until it is ready, and less memory.
      NODE_COMPILE_CACHE: join(cacheFolder(environment), 'compiled'),
      ...environment,
      GATEWAY_EXIT_WITH_PARENT: '1',
    },
  })
  const exited = exitOf(child)
  if (child.pid === undefined) throw (await exited).error ?? new Error(`${file} could not be started`)
  return {
    pid: child.pid,
    exited,
    async stop() {
      child.kill('SIGTERM')
      const timer = setTimeout(() => child.kill('SIGKILL'), stopTimeoutMs)
      await exited
      clearTimeout(timer)
    },
  }
}
