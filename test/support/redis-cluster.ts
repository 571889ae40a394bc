import { Redis } from 'ioredis'
import { eventually } from './eventually.ts'
import { startRedisProcess, type Durability, type RedisProcess } from './redis-process.ts'

const SLOTS = 16_384
const READY_TIMEOUT_MS = 30_000

/** One node: a process to kill and start again, and a connection to it alone. */
export type ClusterNode = RedisProcess & { readonly port: number; readonly redis: Redis }

/**
 * Starts a Redis Cluster of its own on 127.0.0.1: three masters, or `options.masters`, with equal shares of the slots, and
 * `options.replicas` of each. It is there once each node knows all others and all slots. The caller stops it.
 * @param command the redis-server binary or launcher.
 */
export async function startRedisCluster(
  command: string,
  options: {
    masters?: number
    /** Of each master; none unless given. */
    replicas?: number
    durability?: Durability
    /** How long a node is waited for until it counts as gone, and a replica takes its place, in milliseconds. */
    nodeTimeoutMs?: number
    /** Settings beside those of a test's Redis. */
    extra?: Record<string, string>
  } = {},
) {
  const { masters: mastersCount = 3, replicas = 0, durability = 'off', nodeTimeoutMs = 2_000 } = options
  const settings = {
    'cluster-enabled': 'yes',
    'cluster-config-file': 'nodes.conf',
    'cluster-node-timeout': String(nodeTimeoutMs),
    // What the other nodes hold is served while one is gone.
    'cluster-require-full-coverage': 'no',
    'repl-diskless-sync-delay': '0',
    ...options.extra,
  }
  const nodes: ClusterNode[] = []
  try {
    for (let count = 0; count < mastersCount * (1 + replicas); count += 1) {
      const server = await startRedisProcess(command, durability, settings)
      // A test kills nodes: the connection tries again by itself.
      const redis = new Redis(server.url, { maxRetriesPerRequest: 3 })
      redis.on('error', () => {})
      nodes.push({ ...server, port: Number(new URL(server.url).port), redis })
    }
    await join(nodes, mastersCount)
  } catch (error) {
    await stop()
    throw error
  }

  async function stop(): Promise<void> {
    for (const { redis } of nodes) redis.disconnect()
    await Promise.all(nodes.map((node) => node.stop()))
  }

  /** The master that holds a key's slot, as the first node that answers knows it. */
  async function masterOf(key: string): Promise<ClusterNode> {
    for (const { redis } of nodes) {
      const rows = await redis.cluster('SLOTS').catch(() => null)
      if (rows === null) continue
      const slot = await redis.cluster('KEYSLOT', key)
      const [, , master] = rows.find(([first, last]) => slot >= first && slot <= last) ?? []
      const [, port] = master ?? []
      const found = nodes.find((node) => node.port === port)
      if (found) return found
    }
    throw new Error(`No node of the cluster holds the slot of ${key}.`)
  }

  return {
    url: `redis+cluster://${nodes.map(({ port }) => `127.0.0.1:${port}`).join(',')}`,
    nodes,
    masterOf,

    /**
     * Moves the slot of a key, with all that is in it, to another master: whoever asks the old one is told `MOVED`.
     * Nothing is seen half moved: what the slot holds leaves in the same step as the slot itself.
     */
    async moveSlot(key: string, to: ClusterNode): Promise<void> {
      const from = await masterOf(key)
      const slot = await from.redis.cluster('KEYSLOT', key)
      const [fromId, toId] = [await from.redis.cluster('MYID'), await to.redis.cluster('MYID')]
      await to.redis.cluster('SETSLOT', slot, 'IMPORTING', fromId)
      await eventually('the slot holds nothing that came while it was moved', async () => {
        const keys = await from.redis.cluster('GETKEYSINSLOT', slot, 1_000_000)
        const move = from.redis.multi().cluster('SETSLOT', slot, 'MIGRATING', toId)
        if (keys.length > 0) void move.migrate('127.0.0.1', to.port, '', 0, 10_000, 'KEYS', ...keys)
        const answers = await move.cluster('SETSLOT', slot, 'NODE', toId).exec()
        return answers?.every(([error]) => error === null)
      })
      await to.redis.cluster('SETSLOT', slot, 'NODE', toId)
      await to.redis.cluster('BUMPEPOCH')
    },

    stop,
  }
}

export type RedisCluster = Awaited<ReturnType<typeof startRedisCluster>>

/** The first `mastersCount` share the slots, the others follow them in turn. */
async function join(nodes: readonly ClusterNode[], mastersCount: number): Promise<void> {
  const masters = nodes.slice(0, mastersCount)
  for (const [index, { redis }] of nodes.entries()) await redis.cluster('SET-CONFIG-EPOCH', index + 1)
  for (const [index, { redis }] of masters.entries()) {
    const first = Math.floor((index * SLOTS) / mastersCount)
    const last = Math.floor(((index + 1) * SLOTS) / mastersCount) - 1
    await redis.call('CLUSTER', 'ADDSLOTSRANGE', first, last)
  }
  const [one, ...others] = nodes
  for (const { port } of others) await one?.redis.cluster('MEET', '127.0.0.1', port)
  const know = async ({ redis }: ClusterNode): Promise<boolean> => {
    const info = await redis.cluster('INFO')
    return info.includes(`cluster_known_nodes:${nodes.length}`) && info.includes('cluster_state:ok')
  }
  await eventually('all nodes of the cluster know each other', () => every(nodes, know), {
    timeoutMs: READY_TIMEOUT_MS,
  })
  for (const [index, { redis }] of nodes.slice(mastersCount).entries()) {
    const master = masters[index % mastersCount]
    await redis.cluster('REPLICATE', String(await master?.redis.cluster('MYID')))
  }
  const follows = async ({ redis }: ClusterNode): Promise<boolean> =>
    (await redis.info('replication')).includes('master_link_status:up')
  await eventually('the replicas have all data', () => every(nodes.slice(mastersCount), follows), {
    timeoutMs: READY_TIMEOUT_MS,
  })
}

async function every<T>(all: readonly T[], check: (one: T) => Promise<boolean>): Promise<boolean> {
  return (await Promise.all(all.map(check))).every(Boolean)
}
