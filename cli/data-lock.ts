import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { link, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { ConfigError } from '../shared/errors.ts'

const run = promisify(execFile)

/** Gives the folder back. */
export type DataLock = { release(): Promise<void> }

/**
 * Takes a data folder for this process alone, making it when needed.
 *
 * The lock is the highest of the files `lock.1`, `lock.2`, ...: it names its process by id and start time, so that one
 * left behind by a killed process, or by a process id used again, is known. Nobody removes such a file to take its
 * place, since between finding and removing it another may have; who finds the highest one free makes the next, which
 * only one can. The highest is never removed, only emptied on release, so that no number is used twice.
 * @throws {ConfigError} when another live process has it.
 */
export async function lockDataDir(dataDir: string): Promise<DataLock> {
  await mkdir(dataDir, { recursive: true, mode: 0o700 })
  const mine = `${process.pid} ${await startTimeOf(process.pid)}\n`
  for (;;) {
    const last = Math.max(0, ...(await listLocks(dataDir)))
    const holder = last === 0 ? '' : await readFile(lockFile(dataDir, last), 'utf8').catch(() => null)
    // Cleared away meanwhile, by the maker of a higher one.
    if (holder === null) continue
    if (await isAlive(holder)) throw inUse(dataDir, holder)
    const file = lockFile(dataDir, last + 1)
    if (!(await publish(file, mine))) continue
    const all = await listLocks(dataDir)
    // What was found above was old: the number was used and cleared away before.
    const isHighest = Math.max(...all) === last + 1
    const needless = isHighest ? all.filter((number) => number <= last) : [last + 1]
    for (const number of needless) await rm(lockFile(dataDir, number), { force: true })
    // Where the whole folder is gone meanwhile, there is nothing to give back.
    if (isHighest) return { release: () => writeFile(file, '').catch(() => {}) }
  }
}

function lockFile(dataDir: string, number: number): string {
  return join(dataDir, `lock.${number}`)
}

async function listLocks(dataDir: string): Promise<number[]> {
  const names = await readdir(dataDir)
  return names.filter((name) => /^lock\.\d+$/.test(name)).map((name) => Number(name.slice('lock.'.length)))
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
