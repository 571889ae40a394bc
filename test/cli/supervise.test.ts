import { spawn } from 'node:child_process'
import { afterEach, expect, test } from 'vitest'
import { pino } from 'pino'
import { exitOf, type RunningProcess } from '../../cli/running-process.ts'
import { supervise, type Supervised } from '../../cli/supervise.ts'
import { eventually } from '../support/eventually.ts'

const supervised: Supervised[] = []
let lines: { msg: string; restartInMs?: number }[] = []
const log = pino({}, { write: (line: string) => void lines.push(JSON.parse(line)) })

afterEach(async () => {
  await Promise.all(supervised.splice(0).map((child) => child.stop()))
  lines = []
})

function launch(script: string): () => Promise<RunningProcess> {
  return async () => {
    const child = spawn(process.execPath, ['-e', script], { stdio: 'ignore' })
    const exited = exitOf(child)
    const stop = async () => {
      child.kill('SIGTERM')
      await exited
    }
    return { pid: child.pid ?? -1, exited, stop }
  }
}

async function watch(script: string, isReady = true, restartDelaysMs = [5, 10, 20]): Promise<Supervised> {
  const child = await supervise('worker', launch(script), { log, isReady: () => isReady, restartDelaysMs })
  supervised.push(child)
  return child
}

/** What the log says of restarts so far. */
function delays(): number[] {
  return lines.flatMap(({ restartInMs }) => (restartInMs === undefined ? [] : [restartInMs]))
}

const RUN_FOREVER = 'setInterval(() => {}, 1000)'
const CRASH = 'process.exit(7)'

test('a killed process is started again and the log says so', async () => {
  const child = await watch(RUN_FOREVER)
  const firstPid = child.pid()
  process.kill(firstPid ?? 0, 'SIGKILL')
  await eventually('another process runs', () => child.pid() !== undefined && child.pid() !== firstPid)
  expect(lines).toMatchObject([
    { level: 30, child: 'worker', childPid: firstPid, msg: 'worker started' },
    { level: 50, child: 'worker', signal: 'SIGKILL', msg: expect.stringContaining('starting it again') },
    { level: 30, child: 'worker', childPid: child.pid(), msg: 'worker runs again' },
  ])
})

test('a process that keeps crashing is started again after longer and longer delays', async () => {
  await watch(CRASH)
  await eventually('four crashes', () => delays().length >= 4)
  expect(delays().slice(0, 4)).toEqual([5, 10, 20, 20])
})

test('a stopped process is not started again, and neither is one that waits for its restart', async () => {
  const running = await watch(RUN_FOREVER)
  const waiting = await watch(CRASH, true, [60_000])
  await eventually('it waits', () => waiting.pid() === undefined)
  await running.stop()
  await waiting.stop()
  expect(running.pid()).toBeUndefined()
  expect(lines.map(({ msg }) => msg)).toEqual([
    'worker started',
    'worker started',
    'worker ended unexpectedly; starting it again in 60 s',
  ])
})

test('before the gateway is ready an end is a failed start: told, not repeated', async () => {
  const child = await watch(CRASH, false)
  expect(await child.firstExit).toMatchObject({ code: 7 })
  await child.stop()
  expect(lines.map(({ msg }) => msg)).toEqual(['worker started'])
})
