import { execFileSync, spawnSync } from 'node:child_process'
import { chmod, mkdtemp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { startRedisProcess, type Durability, type RedisProcess } from './redis-process.ts'

const SOURCE = fileURLToPath(new URL('power-cut.c', import.meta.url))

/** The server of `TEST_VALKEY`, else a `valkey-server` on PATH: `WAITAOF` needs Valkey, or Redis 7.2. Null: there is none. */
function findValkey(): string | null {
  const command = process.env['TEST_VALKEY'] || 'valkey-server'
  return spawnSync(command, ['--version']).status === 0 ? command : null
}

const VALKEY = findValkey()
const HAS_COMPILER = process.platform === 'linux' && spawnSync('cc', ['--version']).status === 0

/** Whether tests that cut the power of a Valkey can run here; `reason` says why not. */
export function ownValkey(): { isPossible: boolean; reason: string } {
  if (!VALKEY)
    return { isPossible: false, reason: 'no Valkey is at hand (TEST_VALKEY, or valkey-server on PATH)' }
  return { isPossible: HAS_COMPILER, reason: HAS_COMPILER ? '' : 'no C compiler is at hand' }
}

/** The server itself. @throws when there is none: ask `ownValkey` first. */
export function valkeyCommand(): string {
  if (!VALKEY) throw new Error('No Valkey is at hand.')
  return VALKEY
}

/** Whether a server can be cut off from its power here: that takes a library, which is compiled first. */
export const canCutPower = (): boolean => HAS_COMPILER

/**
 * A launcher of a server that can be cut off from its power: what it wrote and had not brought to the disk is gone then. A
 * killed process alone loses nothing of that, since the kernel has it.
 * @param folder where the launcher and its library go.
 */
export async function powerCutLauncher(command: string, folder: string) {
  const slow = join(folder, 'slow')
  const library = join(folder, 'power-cut.so')
  const launcher = join(folder, 'launcher')
  execFileSync('cc', ['-shared', '-fPIC', '-O1', '-o', library, SOURCE, '-ldl'])
  await writeFile(launcher, `#!/bin/sh\nSLOW_DISK='${slow}' LD_PRELOAD='${library}' exec '${command}' "$@"\n`)
  await chmod(launcher, 0o755)
  return {
    command: launcher,
    /** From now on nothing is brought to the disk. */
    stallDisk: () => writeFile(slow, ''),
    freeDisk: () => rm(slow, { force: true }),
  }
}

/** Takes from the files of a killed server of such a launcher what a power cut would have. */
export async function cutFiles({ folder }: Pick<RedisProcess, 'folder'>): Promise<void> {
  const files = join(folder, 'appendonlydir')
  for (const name of await readdir(files)) {
    if (!name.endsWith('.incr.aof')) continue
    const synced = await readFile(join(files, `${name}.synced`), 'utf8').catch(() => '0')
    await truncate(join(files, name), Number(synced))
  }
}

/** Starts a Valkey that can be cut off from its power. The caller calls `stop`. */
export async function startValkey(durability: Durability) {
  const folder = await mkdtemp(join(tmpdir(), 'byok-test-power-'))
  const { command, stallDisk, freeDisk } = await powerCutLauncher(valkeyCommand(), folder)
  const server = await startRedisProcess(command, durability)

  return {
    ...server,
    /** Ends it as a power cut would. */
    async cutPower(): Promise<void> {
      await server.kill()
      await cutFiles(server)
    },
    stallDisk,
    freeDisk,
    async stop(): Promise<void> {
      await freeDisk()
      await server.stop()
      await rm(folder, { recursive: true, force: true })
    },
  }
}
