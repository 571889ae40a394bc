import { setTimeout as sleep } from 'node:timers/promises'
import type { Redis } from 'ioredis'
import { ConfigError } from './errors.ts'
import type { Logger } from './log.ts'
import { infoOfNodes } from './redis.ts'

const RETRY_MS = 250
const LOG_EVERY_MS = 5_000

// ioredis gives these no codes; the texts are its own and Redis's, collected from both sources.
const OUTAGE_MESSAGES =
  /^(Connection is closed|Command timed out|Stream isn't writeable|Command aborted|Reached the max retries|Too many Cluster redirections|Cluster (is|isn't) |None of startup nodes|Failed to refresh slots cache|Node is disconnected|connect ETIMEDOUT|(LOADING|MASTERDOWN|CLUSTERDOWN|READONLY|NOREPLICAS|TRYAGAIN|OOM|MISCONF|BUSY) )/
// As Redis says it itself, and as it says it of a script: 6.2 puts the place in front.
const REFUSED_WRITE = /(?:^|: -)(OOM|MISCONF) /
const SCRIPT_AT_REPLICA = /: -(READONLY|NOREPLICAS) /
const LOGIN_REFUSED = /^(NOAUTH|WRONGPASS|NOPERM) /
const OUTAGE_CODES: ReadonlySet<string> = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'ENOENT',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EPIPE',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'NR_CLOSED',
])

/** Whether an error of a command says that Redis is away, not ready or takes no writes, and not that we did wrong. */
export function isRedisOutage(error: unknown): boolean {
  if (!(error instanceof Error)) return false
  if ('code' in error && typeof error.code === 'string' && OUTAGE_CODES.has(error.code)) return true
  if (error.name === 'MaxRetriesPerRequestError' || error.name === 'ClusterAllFailedError') return true
  const { message } = error
  return OUTAGE_MESSAGES.test(message) || SCRIPT_AT_REPLICA.test(message) || refusedWrite(error) !== null
}

/**
 * Why Redis refused a write, of which then nothing was done: it is `full` (at its `maxmemory`), or `readonly` (it can't save to its
 * disk). Null: it did not.
 */
export function refusedWrite(error: unknown): 'full' | 'readonly' | null {
  const [, word] = (error instanceof Error && REFUSED_WRITE.exec(error.message)) || []
  if (word === undefined) return null
  return word === 'OOM' ? 'full' : 'readonly'
}

/**
 * Waits until Redis answers (with a log line every 5 s while it does not), then checks by `INFO`, since managed ones
 * block `CONFIG`, that it can be trusted with jobs: of a cluster each node. Missing persistence and a missing `maxmemory` are
 * warnings.
 * @throws {ConfigError} for a version below 6.2, an eviction policy that drops keys, or a refused login.
 */
export async function checkRedis(redis: Redis, log: Logger, signal?: AbortSignal): Promise<void> {
  const nodes = (await onceThere(redis, () => infoOfNodes(redis, 'default'), log, signal)).map(parseInfo)
  nodes.forEach(requireTrust)
  if (nodes.some((info) => info.get('aof_enabled') !== '1')) {
    log.warn('Redis has its append-only file off: jobs accepted since its last snapshot are lost if it stops')
  }
  if (nodes.some((info) => info.get('maxmemory') === '0')) {
    log.warn(
      'Redis has no maxmemory: set one, so that it refuses writes before the machine runs out of memory. Until then GATEWAY_REDIS_BYTES_MAX says how full it may be; without both jobs are accepted whatever it holds',
    )
  }
}

/** Does a first step with Redis once it answers; again when it goes away meanwhile. A process need not end for that. */
export async function onceThere<T>(
  redis: Redis,
  step: () => Promise<T>,
  log: Logger,
  signal?: AbortSignal,
): Promise<T> {
  for (;;) {
    await waitForAnswer(redis, log, signal)
    try {
      return await step()
    } catch (error) {
      if (!isRedisOutage(error)) throw error
      log.warn({ err: error }, 'Redis went away during the start; trying again until it is back')
      await sleep(RETRY_MS, undefined, { signal })
    }
  }
}

function requireTrust(info: Map<string, string>): void {
  const version = info.get('redis_version') ?? '0.0.0'
  const [major = 0, minor = 0] = version.split('.').map(Number)
  if (major < 6 || (major === 6 && minor < 2)) {
    throw new ConfigError(`Redis is version ${version}; the gateway needs 6.2 or later.`)
  }
  const policy = info.get('maxmemory_policy')
  if (policy !== 'noeviction') {
    throw new ConfigError(
      `Redis has maxmemory-policy "${policy ?? 'unknown'}" and would drop jobs when it is full. Set it to noeviction.`,
    )
  }
}

/** Until it answers. */
async function waitForAnswer(redis: Redis, log: Logger, signal?: AbortSignal): Promise<void> {
  // A refused login shows only here: the connection is never ready, so commands fail as if Redis were down.
  let isLoginRefused = false
  const note = (error: unknown): void => {
    isLoginRefused ||= error instanceof Error && LOGIN_REFUSED.test(error.message)
  }
  redis.on('error', note)
  // The very first look comes before a connection can stand: only from the second on is there something to tell.
  let lastLogMs = Date.now() - LOG_EVERY_MS + RETRY_MS
  try {
    for (;;) {
      const info = await redis.info().catch((error: unknown) => error)
      // INFO is answered a moment before the connection takes other commands.
      if (typeof info === 'string' && redis.status !== 'connect') return
      note(info)
      if (isLoginRefused) {
        throw new ConfigError('Redis refuses the login in REDIS_URL, or does not allow INFO to it.')
      }
      if (typeof info !== 'string' && !isRedisOutage(info)) throw info
      if (typeof info !== 'string' && Date.now() - lastLogMs >= LOG_EVERY_MS) {
        log.warn('Redis does not answer; the process starts as soon as it does')
        lastLogMs = Date.now()
      }
      await sleep(RETRY_MS, undefined, { signal })
    }
  } finally {
    redis.off('error', note)
  }
}

function parseInfo(text: string): Map<string, string> {
  const pairs = text.split(/\r?\n/).filter((line) => line.includes(':'))
  return new Map(
    pairs.map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 1).trim()]),
  )
}
