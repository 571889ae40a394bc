import { Cluster, Redis, type RedisOptions } from 'ioredis'
import type { Logger } from './log.ts'
import { ConfigError } from './errors.ts'

/**
 * What a connection is for. `commands` fails at once while Redis is away, so that an API call answers 503 in under a
 * second; `blocking` (BullMQ workers, subscribers) waits for Redis to come back.
 */
export type RedisRole = 'commands' | 'blocking'

const COMMAND_TIMEOUT_MS = 900
// An answer that is owed for so long never comes: the network has forgotten the connection, and told nobody.
const SILENCE_MS = 10_000
const CLUSTER = 'redis+cluster://'
/** With a tenth of a second between two tries, less than a call may take. */
const REDIRECTIONS_MAX = 8
// Few enough that Redis and its callers work at the same time: it answers a batch only when it has done all of it.
const WRITES_JOINED_MAX = 8

/**
 * Opens a connection to `REDIS_URL`: `redis://`, `rediss://`, `unix:///path/to.sock`,
 * `redis+sentinel://h1:26379,h2:26379/NAME`, `redis+cluster://h1:6379,h2:6379`, the last two with `user:password@`
 * before the first host where Redis wants a login. The caller closes it.
 * @param timeoutMs How long a command of role `commands` may take before it fails.
 * @param silenceMs How long a connection may owe an answer before another one takes its place; longer than any command waits in Redis.
 * @throws {ConfigError} for any other form; it repeats nothing of the URL.
 */
export function createRedis(
  url: string,
  role: RedisRole,
  log: Logger,
  timeoutMs = COMMAND_TIMEOUT_MS,
  silenceMs = SILENCE_MS,
): Redis {
  return tended(connect(url, optionsOf(role, timeoutMs, silenceMs)), role, log, silenceMs)
}

/**
 * Opens a connection for messages. In a cluster every node hears all that is told, so it is one to any node, and to the next
 * when that is gone: its owner is told of it as of any other connection (`close`, `ready`), which the client of a cluster does
 * not do for the subscriber that it keeps. The caller closes it.
 */
export function createSubscriber(url: string, log: Logger, silenceMs = SILENCE_MS): Redis {
  // Each shard has its listeners there: many are no leak.
  return openSubscriber(url, log, silenceMs).setMaxListeners(0)
}

function openSubscriber(url: string, log: Logger, silenceMs: number): Redis {
  if (!url.startsWith(CLUSTER)) return createRedis(url, 'blocking', log, COMMAND_TIMEOUT_MS, silenceMs)
  const options = optionsOf('blocking', COMMAND_TIMEOUT_MS, silenceMs)
  const { nodes, username, password } = parseNodes(url.slice(CLUSTER.length), 6379)
  let at = 0
  const redis: Redis = new Redis({
    ...options,
    ...nodes[at],
    username,
    password,
    retryStrategy(times) {
      at = (at + 1) % nodes.length
      // The next connection goes where the options say by then.
      Object.assign(redis.options, nodes[at])
      return retryDelayMs(times)
    },
  })
  return tended(redis, 'blocking', log, silenceMs)
}

const retryDelayMs = (times: number): number => Math.min(50 * 2 ** Math.min(times, 6), 1000)

function optionsOf(role: RedisRole, timeoutMs: number, silenceMs: number): RedisOptions {
  return {
    // Also of copies that BullMQ makes for itself, and of the first words on a new connection.
    socketTimeout: silenceMs,
    retryStrategy: retryDelayMs,
    ...(role === 'commands'
      ? {
          // What was sent and not answered may have run: it fails when the connection breaks, and is never sent again.
          maxRetriesPerRequest: 0,
          autoResendUnfulfilledCommands: false,
          enableOfflineQueue: false,
          commandTimeout: timeoutMs,
          connectTimeout: timeoutMs,
        }
      : { maxRetriesPerRequest: null, enableOfflineQueue: true }),
  }
}

function tended(redis: Redis, role: RedisRole, log: Logger, silenceMs: number): Redis {
  if (role === 'blocking') keepAsking(redis, silenceMs / 2)
  let isDown = false
  redis.on('error', (error: Error) => {
    if (!isDown) log.warn({ err: error }, 'Redis is not reachable; trying again until it is')
    isDown = true
  })
  redis.on('ready', () => {
    if (isDown) log.info('Redis is reachable again')
    isDown = false
  })
  return redis
}

/** Redis' clock, in milliseconds. */
export async function redisNowMs(redis: Redis): Promise<number> {
  const [seconds = 0, microseconds = 0] = (await redis.call('TIME')) as string[] // two decimal strings
  return Number(seconds) * 1000 + Math.floor(Number(microseconds) / 1000)
}

/** `INFO` of each node that holds data: of a cluster all masters, else the one server. */
export async function infoOfNodes(redis: Redis, section: string): Promise<string[]> {
  return Promise.all(nodesOf(redis).map((node) => node.info(section)))
}

/**
 * Each node that holds data: of a cluster all masters that are known, else the one server.
 * @throws {Error} that `isRedisOutage` knows, while no node of a cluster is known.
 */
export function nodesOf(redis: Redis): Redis[] {
  // A cluster goes by the type of a single server, see below.
  const server: object = redis
  if (!(server instanceof Cluster)) return [redis]
  const nodes = server.nodes('master')
  if (nodes.length === 0) throw new Error("Cluster isn't ready: no node of it is known.")
  return nodes
}

/**
 * The connection to the one node that holds a key, for commands that must meet there: of a cluster that node's own.
 * @throws {Error} that `isRedisOutage` knows, while no node holds it.
 */
export async function nodeOf(redis: Redis, key: string): Promise<Redis> {
  const server: object = redis
  if (!(server instanceof Cluster)) return redis
  // Nodes are asked themselves: unlike the cluster's client they wait for their connections to stand.
  const [any] = server.nodes('master')
  const slot = any ? await any.cluster('KEYSLOT', key) : -1
  for (let tries = 0; tries < REDIRECTIONS_MAX; tries += 1) {
    const [master] = server.slots[slot] ?? []
    const node = server.nodes('master').find(({ options: { host, port } }) => `${host}:${port}` === master)
    const said = node && (await node.exists(key).catch((error: unknown) => error))
    if (node && typeof said === 'number') return node
    if (said instanceof Error && !said.message.startsWith('MOVED ')) throw said
    // It follows where the slot went, and learns of it.
    await redis.exists(key).catch(() => undefined)
  }
  throw new Error("Cluster isn't ready: no node of it holds the key.")
}

// A subscriber is owed nothing, and would wait for ever on a connection that is gone without a word.
function keepAsking(redis: Redis, everyMs: number): void {
  let timer: NodeJS.Timeout | undefined
  redis.on('ready', () => {
    clearInterval(timer)
    // What it says of a failure, the connection's own events say too.
    timer = setInterval(() => void redis.ping().catch(() => undefined), everyMs)
  })
  redis.on('close', () => clearInterval(timer))
}

// Commands of one turn of the event loop leave in one write, whichever callback gave them: a system call costs more than
// most of them, and wakes Redis.
function joinWrites(redis: Redis): Redis {
  return redis.on('connect', () => joinWritesOf(redis.stream))
}

function joinWritesOf(stream: Redis['stream']): void {
  const write = stream.write.bind(stream) as (...args: unknown[]) => boolean
  let held = 0
  const flush = () => {
    if (held === 0) return
    held = 0
    stream.uncork()
  }
  stream.write = (...args: unknown[]) => {
    if (held === 0) {
      stream.cork()
      setImmediate(flush)
    }
    held += 1
    const isFlowing = write(...args)
    if (held >= WRITES_JOINED_MAX) flush()
    return isFlowing
  }
}

const FORMS =
  'REDIS_URL must be redis://, rediss://, unix://, redis+sentinel://host:port,.../NAME or redis+cluster://host:port,..., the last two with user:password@ before the first host if need be. Percent-encode what is special in a user name or password.'

function connect(url: string, options: RedisOptions): Redis {
  const [scheme = '', rest = ''] = url.split('://')
  if (scheme === 'redis' || scheme === 'rediss') return joinWrites(new Redis(url, options))
  if (scheme === 'unix') return joinWrites(new Redis({ ...options, path: decodeURIComponent(rest) }))
  if (scheme === 'redis+sentinel') {
    const { nodes: sentinels, name, ...logins } = parseNodes(rest, 26_379)
    if (name !== '') return joinWrites(new Redis({ ...options, ...logins, sentinels, name }))
  }
  if (scheme === 'redis+cluster') {
    const { nodes, username, password } = parseNodes(rest, 6379)
    const cluster = new Cluster(nodes, {
      redisOptions: { ...options, username, password },
      enableOfflineQueue: options.enableOfflineQueue,
      // What waits for Redis waits until a replica has taken the place of a node that is gone. What fails at once is not sent
      // again when a connection broke, since it may have run; a node that says that it did not run it is asked again.
      ...(options.enableOfflineQueue
        ? { maxRedirections: Infinity }
        : { retryDelayOnFailover: 0, maxRedirections: REDIRECTIONS_MAX }),
    })
    // A cluster has no socket of its own: its nodes' connections have.
    cluster.on('+node', joinWrites)
    // ioredis types the two apart, though both carry the same commands; nothing here uses what only one has.
    return cluster as unknown as Redis
  }
  throw new ConfigError(FORMS)
}

/**
 * Reads `user:password@h1:port,h2:port/NAME?sentinel_password=...`: the login is Redis's, sentinels have one of their own.
 * @throws {ConfigError} that repeats nothing of the text, which may hold a password.
 */
function parseNodes(text: string, defaultPort: number) {
  const parts = /^(?:([^@/?,]*)@)?([^@/?]+)(?:\/([^@/?]*))?(?:\?([^@]*))?$/.exec(text)
  const [, login = '', hosts = '', name = '', query = ''] = parts ?? []
  const nodes = hosts.split(',').map((item) => {
    const address = /^(?:\[([^[\]]+)\]|([^:[\]]+))(?::(\d{1,5}))?$/.exec(item)
    const host = address?.[1] ?? address?.[2]
    if (host === undefined) throw new ConfigError(FORMS)
    return { host, port: Number(address?.[3] ?? defaultPort) }
  })
  const colon = login.indexOf(':')
  return {
    nodes,
    name,
    username: decode(colon < 0 ? login : login.slice(0, colon)),
    password: colon < 0 ? undefined : decode(login.slice(colon + 1)),
    sentinelPassword: new URLSearchParams(query).get('sentinel_password') ?? undefined,
  }
}

function decode(text: string): string | undefined {
  try {
    return text === '' ? undefined : decodeURIComponent(text)
  } catch {
    throw new ConfigError(FORMS)
  }
}
