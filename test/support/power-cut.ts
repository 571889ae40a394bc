import { execFileSync, spawnSync } from 'node:child_process'
import { chmod, mkdtemp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { startRedisProcess, type Durability } from './redis-process.ts'

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

/**
 * Starts a Valkey that can be cut off from its power: what it wrote and had not brought to the disk is gone then. A killed
 * process alone loses nothing of that, since the kernel has it. The caller calls `stop`.
 */
export async function startValkey(durability: Durability) {
  const folder = await mkdtemp(join(tmpdir(), 'byok-test-power-'))
  const slow = join(folder, 'slow')
  const launcher = join(folder, 'valkey')
  execFileSync('cc', ['-shared', '-fPIC', '-O1', '-o', join(folder, 'power-cut.so'), SOURCE, '-ldl'])
  const script = `#!/bin/sh\nSLOW_DISK=${slow} LD_PRELOAD=${join(folder, 'power-cut.so')} exec ${VALKEY} "$@"\n`
  await writeFile(launcher, script)
  await chmod(launcher, 0o755)
  const server = await startRedisProcess(launcher, durability)

  return {
    ...server,
    /** Ends it as a power cut would. */
    async cutPower(): Promise<void> {
      await server.kill()
      const files = join(server.folder, 'appendonlydir')
      for (const name of await readdir(files)) {
        if (!name.endsWith('.incr.aof')) continue
        const synced = await readFile(join(files, `${name}.synced`), 'utf8').catch(() => '0')
        await truncate(join(files, name), Number(synced))
      }
    },
    /** From now on nothing is brought to the disk. */
    stallDisk: () => writeFile(slow, ''),
    freeDisk: () => rm(slow, { force: true }),
    async stop(): Promise<void> {
      await rm(slow, { force: true })
      await server.stop()
      await rm(folder, { recursive: true, force: true })
    },
  }
}
