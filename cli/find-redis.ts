import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { access, constants, rm } from 'node:fs/promises'
import { delimiter, isAbsolute, join } from 'node:path'
import { promisify } from 'node:util'
import { ConfigError } from '../shared/errors.ts'
import { unpackDebianRedis } from './debian-redis.ts'
import { cacheFolder } from './settings.ts'

const run = promisify(execFile)

const SERVER_NAMES = ['redis-server', 'valkey-server']
/** BullMQ and our scripts need commands of Redis 6.2. */
const VERSION_MIN = [6, 2] as const

/** By the ID or ID_LIKE of /etc/os-release. */
const INSTALL_COMMANDS: Record<string, string> = {
  debian: 'sudo apt-get install redis-server',
  ubuntu: 'sudo apt-get install redis-server',
  fedora: 'sudo dnf install valkey',
  rhel: 'sudo dnf install redis',
  arch: 'sudo pacman -S valkey',
  suse: 'sudo zypper install redis',
  alpine: 'sudo apk add redis',
}

/** Where to look; by default this process's own environment. */
export type RedisSearch = { path?: string; cacheDir?: string }

/**
 * The path of a Redis (or Valkey) server of version 6.2 or later: one on PATH; else, on Debian and its relatives, one
 * unpacked into the cache folder without root, which takes a second the first time.
 * @throws {ConfigError} with the command that installs one on this system.
 */
export async function findRedisServer(search: RedisSearch = {}): Promise<string> {
  const { path = process.env.PATH ?? '', cacheDir = cacheFolder(process.env) } = search
  for (const folder of path.split(delimiter)) {
    if (!isAbsolute(folder)) continue
    for (const name of SERVER_NAMES) {
      const file = join(folder, name)
      if (await isUsable(file)) return file
    }
  }
  const system = readSystem()
  if (!system.families.some((family) => family === 'debian' || family === 'ubuntu')) throw noServer(system)
  // Named after the release: libraries of another one may not fit.
  const folder = join(cacheDir, `redis-${system.release}-${process.arch}`)
  const file = join(folder, 'redis-server')
  if (await isUsable(file)) return file
  try {
    await unpackDebianRedis(folder)
    if (await isUsable(file)) return file
    // A damaged copy was there before, and the one just made gave way to it.
    await rm(folder, { recursive: true, force: true })
    await unpackDebianRedis(folder)
  } catch (error) {
    throw noServer(system, error)
  }
  if (!(await isUsable(file))) throw noServer(system)
  return file
}

/** Whether the file runs here at all, and is new enough. */
async function isUsable(file: string): Promise<boolean> {
  try {
    await access(file, constants.X_OK)
    const { stdout } = await run(file, ['--version'], { timeout: 30_000 })
    const [, major = '', minor = ''] = /v=(\d+)\.(\d+)/.exec(stdout) ?? []
    return (
      Number(major) > VERSION_MIN[0] || (Number(major) === VERSION_MIN[0] && Number(minor) >= VERSION_MIN[1])
    )
  } catch {
    return false
  }
}

type System = { families: string[]; release: string }

function readSystem(): System {
  if (process.platform !== 'linux') return { families: [process.platform], release: process.platform }
  let text: string
  try {
    text = readFileSync('/etc/os-release', 'utf8')
  } catch {
    return { families: [], release: 'linux' }
  }
  const field = (name: string) => new RegExp(`^${name}="?([^"\n]*)"?$`, 'm').exec(text)?.[1] ?? ''
  return {
    families: `${field('ID')} ${field('ID_LIKE')}`.split(' ').filter((family) => family !== ''),
    release: `${field('ID')}-${field('VERSION_ID')}`.replaceAll(/[^A-Za-z0-9.-]/g, ''),
  }
}

function noServer(system: System, cause?: unknown): ConfigError {
  const found = 'No redis-server or valkey-server of version 6.2 or later was found.'
  const error = new ConfigError(`${found} ${advice(system)}`)
  error.cause = cause
  return error
}

function advice({ families }: System): string {
  if (process.platform === 'win32') {
    return 'Redis does not run on Windows itself: run this in WSL (wsl --install), or set REDIS_URL.'
  }
  const command =
    process.platform === 'darwin'
      ? 'brew install redis'
      : families.map((family) => INSTALL_COMMANDS[family]).find((line) => line !== undefined)
  return command
    ? `Install one with: ${command} (or set REDIS_URL to a Redis that runs elsewhere).`
    : 'Install Redis or Valkey with the package manager of this system, or set REDIS_URL.'
}
