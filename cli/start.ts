import { setTimeout as sleep } from 'node:timers/promises'
import { ConfigError } from '../shared/errors.ts'
import type { Logger } from '../shared/log.ts'
import { loadOperatorConfig } from '../shared/operator-config.ts'
import { formatWelcome } from './banner.ts'
import { lockDataDir, type DataLock } from './data-lock.ts'
import { chooseSocket, socketUrl, startEmbeddedRedis } from './embedded-redis.ts'
import { findRedisServer } from './find-redis.ts'
import { readOrMakeKeys, type LocalKeys } from './local-keys.ts'
import { startNodeChild } from './node-child.ts'
import { chooseAddress, readFolders, readStopTimeoutMs, type Environment } from './settings.ts'
import { supervise, type Supervised } from './supervise.ts'

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
  const folders = readFolders(deps.environment)
  const ownsRedis = !deps.environment.REDIS_URL
  const lock = ownsRedis ? await lockDataDir(folders.dataDir) : null
  const children: Supervised[] = []
  const signals = watchSignals(deps, children)
  try {
    const keys = ownsRedis ? await readOrMakeKeys(folders.keysDir) : null
    const address = await chooseAddress(deps.environment)
    const environment = childEnvironment(deps.environment, { ...folders, ...address, keys })
    if (ownsRedis) environment.REDIS_URL = await startRedis(folders.dataDir, children, deps.log)
    await startNodeChildren(environment, workers, children, deps.log)
    const isReady = await Promise.race([
      waitUntilReady(address.url, signals.first),
      ...children.map(failedStart),
      signals.first.then(() => false),
    ])
    if (isReady) deps.print(formatWelcome(describeStart(deps, address.url, environment, keys)))
    await signals.first
  } finally {
    await stopAll(children, lock)
  }
}

function watchSignals({ log, onSignal }: StartDeps, children: Supervised[]) {
  const { promise: first, resolve } = Promise.withResolvers<void>()
  let firstAtMs: number | null = null
  onSignal(() => {
    const nowMs = performance.now()
    if (firstAtMs === null) {
      firstAtMs = nowMs
      log.info('Stopping: running jobs are given time to end. Press Ctrl-C again to stop at once')
      resolve()
    } else if (nowMs - firstAtMs > SAME_SIGNAL_MS) {
      log.warn('Stopping at once; jobs that are running go on at the next start')
      // Redis is asked in any case: it has nothing to wait for, and data to write.
      for (const child of children) if (child.name !== 'Redis') child.kill()
    }
  })
  return { first }
}

type Places = {
  configFile: string | null
  dataDir: string
  host: string
  port: number
  keys: LocalKeys | null
}

/** The children's environment: ours, then the made keys for what is not set, then what was decided here. */
function childEnvironment(own: Environment, { configFile, dataDir, host, port, keys }: Places): Environment {
  const made: Environment = { ...keys?.environment }
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

async function startRedis(dataDir: string, children: Supervised[], log: Logger): Promise<string> {
  const server = await findRedisServer()
  // One socket for all restarts: the children know this one.
  const socket = await chooseSocket(dataDir)
  const onWarning = (line: string) => log.warn({ child: 'Redis' }, `Redis says: ${line}`)
  const launch = () => startEmbeddedRedis({ dataDir, server, socket, onWarning })
  children.push(await supervise('Redis', launch, { log }))
  return socketUrl(socket)
}

async function startNodeChildren(
  environment: Environment,
  workers: number,
  children: Supervised[],
  log: Logger,
): Promise<void> {
  const stopTimeoutMs = readStopTimeoutMs(environment)
  const launch = (file: string) => () => startNodeChild(file, environment, stopTimeoutMs)
  children.push(await supervise('API', launch('api/main.ts'), { log }))
  for (let number = 1; number <= workers; number += 1) {
    const name = workers === 1 ? 'worker' : `worker ${number}`
    children.push(await supervise(name, launch('worker/main.ts'), { log }))
  }
}

/** A child that ends before the gateway was ready will not do better when started again: its message is in the log. */
async function failedStart(child: Supervised): Promise<never> {
  const { code, signal } = await child.firstExit
  throw new ConfigError(`The ${child.name} ended at its start (${signal ?? `exit code ${code}`}); see above.`)
}

async function waitUntilReady(url: string, cancelled: Promise<void>): Promise<boolean> {
  let isCancelled = false
  void cancelled.then(() => (isCancelled = true))
  const giveUpAtMs = performance.now() + READY_TIMEOUT_MS
  for (;;) {
    const status = await fetch(`${url}/readyz`).then(
      async (response) => {
        await response.body?.cancel()
        return response.status
      },
      () => null,
    )
    if (status === 200 || isCancelled) return status === 200
    if (performance.now() > giveUpAtMs) throw new Error(`${url}/readyz does not answer 200; see the log.`)
    await sleep(READY_POLL_MS)
  }
}

function describeStart(deps: StartDeps, url: string, environment: Environment, keys: LocalKeys | null) {
  const isMade = keys !== null && environment.GATEWAY_MASTER_KEY === keys.environment.GATEWAY_MASTER_KEY
  const isShown = isMade && keys.isNew && deps.isTerminal
  return {
    url,
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
