import { once } from 'node:events'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseConfig } from '../shared/config.ts'
import { ConfigError } from '../shared/errors.ts'
import type { Logger } from '../shared/log.ts'
import { loadOperatorConfig } from '../shared/settings/operator-config.ts'
import { formatWelcome } from './banner.ts'
import { lockDataDir, type DataLock } from './data-lock.ts'
import { chooseSocket, socketUrl, startEmbeddedRedis } from './embedded-redis.ts'
import { findRedisServer } from './find-redis.ts'
import { readOrMakeKeys, type LocalKeys } from './local-keys.ts'
import { startNodeChild } from './node-child.ts'
import type { RunningProcess } from './running-process.ts'
import {
  chooseAddress,
  metricsUrls,
  readFolders,
  readStopTimeoutMs,
  withMetricsPort,
  type Environment,
} from './settings.ts'
import { supervise, type SuperviseDeps, type Supervised } from './supervise.ts'

const READY_TIMEOUT_MS = 60_000
const READY_POLL_MS = 25
/** A terminal and npm both pass one Ctrl-C on: what comes this soon is the same one. */
const SAME_SIGNAL_MS = 1000

/** What `start` takes from its process. */
export type StartDeps = {
  environment: Environment
  log: Logger
  /** Writes to the person at the terminal. */
  print: (text: string) => void
  /** Whether that person alone reads it: else a key is not printed, since logs are kept. */
  isTerminal: boolean
  /** Calls back with each signal that asks the process to end. */
  onSignal: (handler: () => void) => void
}

/**
 * Runs the gateway on this machine: its own Redis (none when `REDIS_URL` is set), the API and the workers, as processes
 * that are started again when they crash. Returns when a signal has ended it: workers first, which drain, then the
 * API, then Redis. A second signal ends it at once.
 * @throws {ConfigError} when it can't start with these settings.
 */
export async function start({ workers }: { workers: number }, deps: StartDeps): Promise<void> {
  const { log } = deps
  const folders = readFolders(deps.environment)
  const ownsRedis = !deps.environment.REDIS_URL
  const lock = ownsRedis ? await lockDataDir(folders.dataDir) : null
  const children: Supervised[] = []
  const stopping = stopOnSignal(deps, children)
  let isReady = false
  const supervising = { log, isReady: () => isReady }
  try {
    const keys = ownsRedis ? await readOrMakeKeys(folders.keysDir) : null
    const address = await chooseAddress(deps.environment)
    const filesDir = ownsRedis ? join(folders.dataDir, 'files') : null
    const environment = childEnvironment(deps.environment, { ...folders, filesDir, ...address, keys })
    const redis = ownsRedis ? await prepareRedis(folders.dataDir, log) : null
    if (redis) environment.REDIS_URL = redis.url
    // What would stop each of the children is said once, before any of them starts.
    parseConfig(environment)
    // At once: Redis answers long before the others have loaded their code.
    await Promise.all([
      redis ? superviseInto(children, 'Redis', redis.launch, supervising) : null,
      startNodeChildren(environment, workers, children, supervising),
    ])
    const failures = children.map(failedStart)
    isReady = await Promise.race([waitUntilReady(address.url, stopping.signal), ...failures])
    if (isReady)
      deps.print(formatWelcome(describeStart(deps, { url: address.url, workers }, environment, keys)))
    if (!stopping.signal.aborted) await once(stopping.signal, 'abort')
  } finally {
    stopping.abort()
    await stopAll(children, lock)
  }
}

/** Aborted by the first signal; a later one kills what still drains. */
function stopOnSignal({ log, onSignal }: StartDeps, children: Supervised[]): AbortController {
  const stopping = new AbortController()
  let firstAtMs: number | null = null
  onSignal(() => {
    const nowMs = performance.now()
    if (firstAtMs === null) {
      firstAtMs = nowMs
      log.info('Stopping: running jobs are given time to end. Press Ctrl-C again to stop at once')
      stopping.abort()
    } else if (nowMs - firstAtMs > SAME_SIGNAL_MS) {
      log.warn('Stopping at once; jobs that are running go on at the next start')
      // Redis is asked in any case: it has nothing to wait for, and data to write.
      for (const child of children) if (child.name !== 'Redis') child.kill()
    }
  })
  return stopping
}

type Places = {
  configFile: string | null
  dataDir: string
  /** Where files lie unless it is said; null: it must be said. */
  filesDir: string | null
  host: string
  port: number
  keys: LocalKeys | null
}

/** The children's environment: ours, then the made keys for what is not set, then what was decided here. */
function childEnvironment(own: Environment, places: Places): Environment {
  const { configFile, dataDir, filesDir, host, port, keys } = places
  const made: Environment = { ...keys?.environment }
  if (filesDir !== null) made.GATEWAY_FILES = `file:${filesDir}`
  const { generalSettings } = loadOperatorConfig(configFile, own)
  if (generalSettings.masterKey !== null) delete made.GATEWAY_MASTER_KEY
  const set = Object.fromEntries(Object.entries(own).filter(([, value]) => value !== ''))
  return {
    ...made,
    ...set,
    HOST: host,
    PORT: String(port),
    GATEWAY_DATA_DIR: dataDir,
    ...(configFile === null ? {} : { GATEWAY_CONFIG: configFile }),
  }
}

async function prepareRedis(dataDir: string, log: Logger) {
  const server = await findRedisServer()
  // One socket for all restarts: the children know this one.
  const socket = await chooseSocket(dataDir)
  const onWarning = (line: string) => log.warn({ child: 'Redis' }, `Redis says: ${line}`)
  const launch = () => startEmbeddedRedis({ dataDir, server, socket, onWarning })
  return { url: socketUrl(socket), launch }
}

async function startNodeChildren(
  environment: Environment,
  workers: number,
  children: Supervised[],
  supervising: SuperviseDeps,
): Promise<void> {
  const stopTimeoutMs = readStopTimeoutMs(environment)
  const launch = (file: string, number: number) => () =>
    startNodeChild(file, withMetricsPort(environment, number), stopTimeoutMs)
  await superviseInto(children, 'API', launch('api/main.ts', 0), supervising)
  for (let number = 1; number <= workers; number += 1) {
    const name = workers === 1 ? 'worker' : `worker ${number}`
    await superviseInto(children, name, launch('worker/main.ts', number), supervising)
  }
}

/** What has been started is in the list at once, so that it is stopped when a later one fails. */
async function superviseInto(
  children: Supervised[],
  name: string,
  launch: () => Promise<RunningProcess>,
  supervising: SuperviseDeps,
): Promise<void> {
  children.push(await supervise(name, launch, supervising))
}

/** A child that ends before the gateway was ready will not do better when started again: its message is in the log. */
async function failedStart(child: Supervised): Promise<never> {
  const { code, signal } = await child.firstExit
  throw new ConfigError(`The ${child.name} ended at its start (${signal ?? `exit code ${code}`}); see above.`)
}

/** False when it was stopped before. */
async function waitUntilReady(url: string, signal: AbortSignal): Promise<boolean> {
  const giveUpAtMs = performance.now() + READY_TIMEOUT_MS
  while (!signal.aborted) {
    if (await isAnsweredWith200(`${url}/readyz`, signal)) return true
    if (performance.now() > giveUpAtMs) throw new Error(`${url}/readyz does not answer 200; see the log.`)
    await sleep(READY_POLL_MS)
  }
  return false
}

async function isAnsweredWith200(url: string, signal: AbortSignal): Promise<boolean> {
  try {
    const response = await fetch(url, { signal })
    await response.body?.cancel()
    return response.status === 200
  } catch {
    return false
  }
}

function describeStart(
  deps: StartDeps,
  { url, workers }: { url: string; workers: number },
  environment: Environment,
  keys: LocalKeys | null,
) {
  const isMade = keys !== null && environment.GATEWAY_MASTER_KEY === keys.environment.GATEWAY_MASTER_KEY
  const isShown = isMade && keys.isNew && deps.isTerminal
  return {
    url,
    metricsUrls: metricsUrls(environment, workers),
    keysFile: isMade ? keys.file : null,
    newKey: isShown ? keys.environment.GATEWAY_MASTER_KEY : null,
  }
}

/** Workers, API, Redis: the reverse of the start, so that each one's last words still find who listens. */
async function stopAll(children: Supervised[], lock: DataLock | null): Promise<void> {
  const workers = children.filter(({ name }) => name.startsWith('worker'))
  await Promise.all(workers.map((child) => child.stop()))
  for (const name of ['API', 'Redis']) await children.find((child) => child.name === name)?.stop()
  await lock?.release()
}
