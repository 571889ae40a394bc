import { mkdtemp, rm } from 'node:fs/promises'
import { randomInt } from 'node:crypto'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import { eventually, Hopeless } from './eventually.ts'
import { startProcess, type TestProcess } from './processes.ts'

/** `off` keeps nothing; the others write an append-only file and fsync it after each write, or each second. */
export type Durability = 'off' | 'everysec' | 'always'

// Below what systems hand out by themselves, also where a node of a cluster listens a second time, 10,000 above its port.
const PORT_MIN = 10_240
const PORT_MAX = 22_000

/**
 * Starts a Redis of its own on a port of 127.0.0.1, with its files in a folder of its own. It can be killed and
 * started again on the same port and files, as after a power cut.
 * @param command the redis-server binary or launcher.
 * @param extra settings beside those of a test's Redis.
 */
export async function startRedisProcess(
  command: string,
  durability: Durability,
  extra: Record<string, string> = {},
) {
  const folder = await mkdtemp(join(tmpdir(), 'byok-test-redis-'))
  const port = await freePort()
  const url = `redis://127.0.0.1:${port}`
  let server: TestProcess = await launch()

  async function launch(): Promise<TestProcess> {
    const settings = {
      port: String(port),
      bind: '127.0.0.1',
      dir: folder,
      save: '',
      'maxmemory-policy': 'noeviction',
      loglevel: 'warning',
      appendonly: durability === 'off' ? 'no' : 'yes',
      appendfsync: durability === 'off' ? 'no' : durability,
      ...extra,
    }
    const args = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value])
    const started = startProcess(command, args, { env: environment() })
    await eventually(`Redis answers on port ${port}`, async () => {
      if (started.hasEnded()) throw new Hopeless(`redis-server ended: ${started.output()}`)
      return answersPing(url)
    })
    return started
  }

  return {
    url,
    folder,
    /** Kills the process at once: nothing is flushed or closed. */
    async kill() {
      server.kill('SIGKILL')
      await server.ended()
    },
    async restart() {
      server = await launch()
    },
    async stop() {
      if (!server.hasEnded()) server.kill('SIGTERM')
      await server.ended()
      await rm(folder, { recursive: true, force: true })
    },
  }
}

export type RedisProcess = Awaited<ReturnType<typeof startRedisProcess>>

/** What a child process needs of this one's environment, and nothing else, and where a run of tests keeps compiled code. */
export function environment(): Record<string, string> {
  const names = ['PATH', 'HOME', 'TMPDIR', 'LD_LIBRARY_PATH', 'LANG']
  const own = names.flatMap((name) => (process.env[name] ? [[name, process.env[name]]] : []))
  const compiled = process.env['TEST_COMPILE_CACHE']
  return Object.fromEntries(compiled ? [...own, ['NODE_COMPILE_CACHE', compiled]] : own)
}

/** Removes all keys under a test's prefix. */
export async function removeKeys(redis: Redis, prefix: string): Promise<void> {
  for await (const keys of redis.scanStream({ match: `${prefix}:*`, count: 1000 })) {
    // One by one: in a cluster they lie in many slots.
    await Promise.all((keys as string[]).map((key) => redis.unlink(key)))
  }
}

/**
 * A port that is free, and stays so: the system hands out none of this range, neither to who listens on any port nor to
 * connections that go out, of which a run of tests has thousands.
 */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = randomInt(PORT_MIN, PORT_MAX)
    if (await canListen(port)) return port
  }
}

function canListen(port: number): Promise<boolean> {
  const server = createServer()
  return new Promise((resolve) => {
    server.once('error', () => resolve(false))
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)))
  })
}

async function answersPing(url: string): Promise<boolean> {
  const redis = new Redis(url, { lazyConnect: true, retryStrategy: () => null, maxRetriesPerRequest: 0 })
  redis.on('error', () => {})
  try {
    await redis.connect()
    return (await redis.ping()) === 'PONG'
  } finally {
    redis.disconnect()
  }
}
