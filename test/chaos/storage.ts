import { execFile } from 'node:child_process'
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { Redis } from 'ioredis'
import { findRedisServer } from '../../cli/find-redis.ts'
import { canCutPower, cutFiles, powerCutLauncher } from '../support/power-cut.ts'
import { startRedisProcess, type Durability } from '../support/redis-process.ts'
import { startRedisSentinel } from '../support/redis-sentinel.ts'

const run = promisify(execFile)

/** A Redis that writes each change down before it answers, or each second; or two, with sentinels that choose. */
export type StorageKind = Exclude<Durability, 'off'> | 'sentinel'

/** What a scenario can do to Redis. What does not apply to a kind throws. */
export type Storage = {
  /** As `REDIS_URL`. */
  url: string
  /** What a proxy can stand in front of; null: clients are told where it is. */
  target: string | null
  /** A connection of the rig's own, past all proxies. */
  redis: () => Redis
  kill: () => Promise<void>
  /** Kills it, and takes what it had not brought to the disk. @throws where `canCutPower` says no. */
  cutPower: () => Promise<void>
  restart: () => Promise<void>
  /** Kills the master, and waits until another one is chosen. */
  failOver: () => Promise<void>
  /** Lets no file of Redis' grow any more, as on a full disk; or lets it again. */
  fillDisk: (isFull: boolean) => Promise<void>
  mend: () => Promise<void>
  stop: () => Promise<void>
}

/** Starts a Redis of this kind. The caller stops it. @param server The binary; null: whatever is found. */
export async function startStorage(kind: StorageKind, server: string | null): Promise<Storage> {
  const command = server ?? (await findRedisServer())
  return kind === 'sentinel' ? startSentinels(command) : startSingle(command, kind)
}

async function startSingle(command: string, durability: Exclude<Durability, 'off'>): Promise<Storage> {
  // Ignored before Redis is there: a write beyond the limit fails with an error, as one to a full disk does.
  const folder = await mkdtemp(join(tmpdir(), 'byok-chaos-redis-'))
  const launcher = join(folder, 'redis-server')
  const power = durability === 'everysec' && canCutPower() ? await powerCutLauncher(command, folder) : null
  await writeFile(launcher, `#!/bin/sh\ntrap '' XFSZ\nexec '${power?.command ?? command}' "$@"\n`)
  await chmod(launcher, 0o755)
  const server = await startRedisProcess(launcher, durability)
  const redis = connect(server.url)
  let isUp = true
  // Limits are a process's own: they end with it.
  let isFull = false

  async function kill(): Promise<void> {
    isUp = false
    isFull = false
    await server.kill()
  }

  async function restart(): Promise<void> {
    await server.restart()
    isUp = true
  }

  async function fillDisk(on: boolean): Promise<void> {
    const pid = /process_id:(\d+)/.exec(await redis.info('server'))?.[1]
    if (pid === undefined) throw new Error('Redis did not say which process it is.')
    // The soft limit alone, so that it can be lifted again without being root. 1 byte: no file may grow.
    await run('prlimit', ['--pid', pid, `--fsize=${on ? '1' : 'unlimited'}:`])
    isFull = on
  }

  return {
    url: server.url,
    target: server.url,
    redis: () => redis,
    kill,
    async cutPower() {
      if (!power) throw new Error('The power of this Redis can not be cut.')
      await kill()
      await cutFiles(server)
    },
    restart,
    failOver: () => Promise.reject(new Error('There is one Redis alone.')),
    fillDisk,
    async mend() {
      if (!isUp) await restart()
      if (isFull) await fillDisk(false)
    },
    async stop() {
      redis.disconnect()
      await server.stop()
      await rm(folder, { recursive: true, force: true })
    },
  }
}

const refuse = () => Promise.reject(new Error('Redis is killed by `failOver` here.'))

async function startSentinels(command: string): Promise<Storage> {
  const group = await startRedisSentinel(command, { durability: 'everysec' })
  let current = (await group.master()).redis
  let gone: Awaited<ReturnType<typeof group.failOver>> | null = null
  return {
    url: group.url,
    target: null,
    redis: () => current,
    kill: refuse,
    cutPower: refuse,
    restart: refuse,
    async failOver() {
      gone = await group.failOver()
      current = (await group.master()).redis
    },
    fillDisk: refuse,
    async mend() {
      await gone?.restart()
      gone = null
    },
    stop: () => group.stop(),
  }
}

function connect(url: string): Redis {
  const redis = new Redis(url, { maxRetriesPerRequest: 20 })
  // It is killed now and then: the connection tries again by itself.
  redis.on('error', () => {})
  return redis
}
