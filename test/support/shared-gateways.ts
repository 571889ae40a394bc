import { appendFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { eventually } from './eventually.ts'
import { removeKeys } from './redis-process.ts'
import { openRedis } from './topology.ts'

/** Lines of what a run's shared gateways began: `pid 123` for a process, `keys prefix` for keys in the run's Redis. */
const LEDGER = 'shared-gateways'

/** Notes what is there until the end of the run, when nobody else knows of it any more. */
export function noteShared(folder: string, kind: 'pid' | 'keys', value: string | number): void {
  appendFileSync(join(folder, LEDGER), `${kind} ${value}\n`)
}

/**
 * Waits for the end of gateways that outlived their test files: their processes stop by themselves when the test process
 * that started them is gone. Then it removes their keys.
 * @throws {Error} one did not end in time; it is killed
 */
export async function endSharedGateways(folder: string, redisUrl: string): Promise<void> {
  const text = await readFile(join(folder, LEDGER), 'utf8').catch(() => '')
  const lines = text.split('\n').map((line) => line.split(' '))
  const pids = lines.filter(([kind]) => kind === 'pid').map(([, pid]) => Number(pid))
  try {
    await eventually('the shared gateways end', () => !pids.some(isRunning))
  } catch (error) {
    for (const pid of pids) if (isRunning(pid)) process.kill(pid, 'SIGKILL')
    throw error
  }
  const redis = openRedis(redisUrl)
  for (const [kind, prefix] of lines) if (kind === 'keys' && prefix) await removeKeys(redis, prefix)
  redis.disconnect()
}

function isRunning(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}
