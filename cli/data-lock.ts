import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { link, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { ConfigError } from '../shared/errors.ts'

const run = promisify(execFile)

/** Gives the folder back. */
export type DataLock = { release(): Promise<void> }

/**
 * Takes a data folder for this process alone, making it when needed. The lock is a file that names its process by id
 * and start time, so that one left behind by a killed process, or by a process id used again, is taken over.
 * @throws {ConfigError} when another live process has it.
 */
export async function lockDataDir(dataDir: string): Promise<DataLock> {
  await mkdir(dataDir, { recursive: true, mode: 0o700 })
  const file = join(dataDir, 'lock')
  const mine = `${process.pid} ${await startTimeOf(process.pid)}\n`
  while (!(await publish(file, mine))) {
    const holder = await readFile(file, 'utf8').catch(() => '')
    if (await isAlive(holder)) throw inUse(dataDir, holder)
    await removeStale(file, holder, dataDir)
  }
  return {
    async release() {
      if ((await readFile(file, 'utf8').catch(() => '')) === mine) await rm(file, { force: true })
    },
  }
}

/** Writes the file whole or, when there is one, not at all. */
async function publish(file: string, text: string): Promise<boolean> {
  const draft = `${file}.${randomBytes(6).toString('hex')}`
  await writeFile(draft, text, { mode: 0o600 })
  try {
    await link(draft, file)
    return true
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EEXIST') return false
    throw error
  } finally {
    await rm(draft, { force: true })
  }
}

/** Two starts may find the same stale lock: the second must not remove the first one's new lock. */
async function removeStale(file: string, expected: string, dataDir: string): Promise<void> {
  const aside = `${file}.${randomBytes(6).toString('hex')}`
  try {
    await rename(file, aside)
  } catch {
    return
  }
  const found = await readFile(aside, 'utf8')
  if (found !== expected) {
    await link(aside, file).catch(() => {})
    await rm(aside, { force: true })
    throw inUse(dataDir, found)
  }
  await rm(aside, { force: true })
}

async function isAlive(holder: string): Promise<boolean> {
  const [, pid = '', startTime = ''] = /^(\d+) (.*)\n$/.exec(holder) ?? []
  return pid !== '' && startTime !== '' && (await startTimeOf(Number(pid))) === startTime
}

/** What tells a process from a later one with the same id; empty when there is none. */
async function startTimeOf(pid: number): Promise<string> {
  try {
    if (process.platform !== 'linux') {
      const { stdout } = await run('ps', ['-o', 'lstart=', '-p', String(pid)])
      return stdout.trim()
    }
    const boot = await readFile('/proc/sys/kernel/random/boot_id', 'utf8')
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8')
    // The name, in brackets, may hold anything; the start time is field 22, the 20th after it.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    if (fields[0] === 'Z') return ''
    return `${boot.trim()}/${fields[19]}`
  } catch {
    return ''
  }
}

function inUse(dataDir: string, holder: string): ConfigError {
  const pid = holder.split(' ')[0]
  const message = `The data folder ${dataDir} is in use by another gateway on this machine (process ${pid}).`
  return new ConfigError(`${message} Stop that one, or give this one its own GATEWAY_DATA_DIR and PORT.`)
}
