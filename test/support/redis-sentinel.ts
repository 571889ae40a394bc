import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import { eventually } from './eventually.ts'
import { startProcess, type TestProcess } from './processes.ts'
import {
  environment,
  freePort,
  startRedisProcess,
  type Durability,
  type RedisProcess,
} from './redis-process.ts'

const NAME = 'main'
const SENTINELS = 3
const READY_TIMEOUT_MS = 30_000

/** A Redis that is the master or follows it, and a connection to it alone. */
export type SentinelNode = RedisProcess & { readonly port: number; readonly redis: Redis }

/**
 * Starts a Redis with a replica and three sentinels that watch them, on 127.0.0.1. It is there once the replica has all
 * data and the sentinels know each other. The caller stops it.
 * @param command the redis-server binary or launcher, which is a sentinel too.
 */
export async function startRedisSentinel(
  command: string,
  options: {
    durability?: Durability
    /** How long the master must be silent to be replaced, in milliseconds. */
    downAfterMs?: number
    /** Settings of both Redis beside those of a test's Redis. */
    extra?: Record<string, string>
  } = {},
) {
  const { durability = 'off', downAfterMs = 1_000 } = options
  const nodes: SentinelNode[] = []
  const sentinels: { port: number; process: TestProcess; redis: Redis }[] = []
  try {
    const settings = { 'repl-diskless-sync-delay': '0', ...options.extra }
    const first = await startNode(settings)
    await startNode({ ...settings, replicaof: `127.0.0.1 ${first.port}` })
    for (let count = 0; count < SENTINELS; count += 1) await startSentinel(first)
    await eventually('the sentinels know each other and a replica that has all data', isComplete, {
      timeoutMs: READY_TIMEOUT_MS,
    })
  } catch (error) {
    await stop()
    throw error
  }

  async function startNode(settings: Record<string, string>): Promise<SentinelNode> {
    const server = await startRedisProcess(command, durability, settings)
    const node = { ...server, port: portOf(server.url), redis: connect(portOf(server.url)) }
    nodes.push(node)
    return node
  }

  async function startSentinel(watched: SentinelNode): Promise<void> {
    const port = await freePort()
    // A sentinel writes down what it learns in the file that it is started with: each has one of its own.
    const file = join(watched.folder, `sentinel-${port}.conf`)
    const lines = [
      `port ${port}`,
      'bind 127.0.0.1',
      `dir ${watched.folder}`,
      'loglevel warning',
      `sentinel monitor ${NAME} 127.0.0.1 ${watched.port} 2`,
      `sentinel down-after-milliseconds ${NAME} ${downAfterMs}`,
      `sentinel failover-timeout ${NAME} ${4 * downAfterMs}`,
    ]
    await writeFile(file, `${lines.join('\n')}\n`)
    const process = startProcess(command, [file, '--sentinel'], { env: environment() })
    sentinels.push({ port, process, redis: connect(port) })
  }

  async function isComplete(): Promise<boolean> {
    const views = await Promise.all(
      sentinels.map(async ({ redis }) => fields(await redis.call('SENTINEL', 'MASTER', NAME))),
    )
    const info = await nodes[1]?.redis.info('replication')
    return views.every(knowsAll) && info?.includes('master_link_status:up') === true
  }

  /** Whoever the sentinels send clients to now. */
  async function master(): Promise<SentinelNode> {
    const address = await sentinels[0]?.redis.call('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', NAME)
    // Host and port.
    const port = Number((address as string[] | undefined)?.[1])
    const found = nodes.find((node) => node.port === port)
    if (!found) throw new Error('The sentinels name a master that nobody started.')
    return found
  }

  async function stop(): Promise<void> {
    for (const { redis } of [...sentinels, ...nodes]) redis.disconnect()
    for (const { process } of sentinels) if (!process.hasEnded()) process.kill('SIGKILL')
    await Promise.all(sentinels.map(({ process }) => process.ended(5_000)))
    await Promise.all(nodes.map((node) => node.stop()))
  }

  return {
    url: `redis+sentinel://${sentinels.map(({ port }) => `127.0.0.1:${port}`).join(',')}/${NAME}`,
    nodes,
    sentinels,
    master,

    /**
     * Kills the master, and waits until the sentinels have made the other one master.
     * @returns the one that was killed; started again, it follows the new master.
     */
    async failOver(): Promise<SentinelNode> {
      const before = await master()
      await before.kill()
      await eventually('the sentinels name another master', async () => (await master()) !== before, {
        timeoutMs: READY_TIMEOUT_MS,
      })
      return before
    },

    stop,
  }
}

export type RedisSentinel = Awaited<ReturnType<typeof startRedisSentinel>>

function connect(port: number): Redis {
  const redis = new Redis(`redis://127.0.0.1:${port}`, { maxRetriesPerRequest: 3 })
  // Some are killed: the connection tries again by itself.
  redis.on('error', () => {})
  return redis
}

function knowsAll(view: Map<string, string>): boolean {
  return view.get('num-other-sentinels') === String(SENTINELS - 1) && view.get('num-slaves') === '1'
}

function portOf(url: string): number {
  return Number(new URL(url).port)
}

/** A flat list of names and values, as sentinels answer. */
function fields(flat: unknown): Map<string, string> {
  const list = flat as string[]
  return new Map(list.flatMap((name, at) => (at % 2 === 0 ? [[name, list[at + 1] ?? ''] as const] : [])))
}
