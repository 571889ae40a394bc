import { existsSync } from 'node:fs'
import { createServer } from 'node:net'
import { homedir } from 'node:os'
import { join, resolve } from 'node:path'
import { ConfigError } from '../shared/errors.ts'

/** Variables by name, as in `process.env`. */
export type Environment = Record<string, string | undefined>

const DEFAULT_HOST = '127.0.0.1'
const DEFAULT_PORT = '4000'
const DEFAULT_DRAIN_MS = 30_000
/** What a process may take to close its connections after it has drained. */
const CLOSE_MS = 5_000

/** Where a one-machine gateway keeps its things; absolute paths. `configFile`: `./config.yaml` if it is there. */
export function readFolders(environment: Environment) {
  const keysDir = environment.GATEWAY_KEYS_DIR || join(homedir(), '.config', 'byok-gateway')
  const configFile = environment.GATEWAY_CONFIG || (existsSync('config.yaml') ? 'config.yaml' : null)
  return {
    dataDir: resolve(environment.GATEWAY_DATA_DIR || 'data'),
    keysDir: resolve(keysDir),
    configFile: configFile === null ? null : resolve(configFile),
  }
}

/** Where what can be made again is kept: an unpacked Redis, compiled code. */
export function cacheFolder(environment: Environment): string {
  return join(environment.XDG_CACHE_HOME || join(homedir(), '.cache'), 'byok-gateway')
}

/** How long an API or worker may take from being asked to end until it is killed, in milliseconds. */
export function readStopTimeoutMs(environment: Environment): number {
  return Number(environment.GATEWAY_DRAIN_MS || DEFAULT_DRAIN_MS) + CLOSE_MS
}

/**
 * Where the API will listen, tried by listening there for a moment. Port 0 becomes a port that is free now, so that a
 * restarted API comes back where it was.
 * @throws {ConfigError} when the address can't be had.
 */
export async function chooseAddress(environment: Environment) {
  const host = environment.HOST || DEFAULT_HOST
  const port = Number(environment.PORT || DEFAULT_PORT)
  if (!Number.isInteger(port) || port < 0 || port > 65_535) throw new ConfigError('PORT must be 0 to 65535.')
  const server = createServer()
  const boundPort = await new Promise<number>((done, fail) => {
    server.once('error', (error) => fail(noAddress(host, port, error)))
    server.listen(port, host, () => {
      const address = server.address()
      done(address !== null && typeof address === 'object' ? address.port : port)
    })
  })
  await new Promise((done) => server.close(done))
  return { host, port: boundPort, url: `http://${reachableHost(host)}:${boundPort}` }
}

/**
 * The environment of the API (0) or of a worker (1 and on), each of which shows its metrics on a port of its own: the one that is
 * set, and those that follow it. With port 0 each takes one that is free.
 */
export function withMetricsPort(environment: Environment, number: number): Environment {
  const port = metricsPort(environment)
  return port === 0 ? environment : { ...environment, GATEWAY_METRICS_PORT: String(port + number) }
}

/** Where the metrics of the API and of so many workers are; empty when they are shown nowhere, or where is not known yet. */
export function metricsUrls(environment: Environment, workers: number): string[] {
  const port = metricsPort(environment)
  if (port === 0) return []
  const host = reachableHost(environment.GATEWAY_METRICS_HOST || environment.HOST || DEFAULT_HOST)
  return Array.from({ length: workers + 1 }, (_, number) => `http://${host}:${port + number}/metrics`)
}

/** 0: none is set, or any will do. */
function metricsPort({ GATEWAY_METRICS_PORT: port }: Environment): number {
  return Number(port || 0)
}

function noAddress(host: string, port: number, error: Error): ConfigError {
  if ('code' in error && error.code === 'EADDRINUSE') {
    return new ConfigError(`Port ${port} of ${host} is taken by another process. Set PORT to a free one.`)
  }
  return new ConfigError(
    `The API can't listen on ${host}, port ${port} (${error.message}). Set HOST and PORT.`,
  )
}

/** All addresses of the machine are listened on, but none of them can be called by that name. */
function reachableHost(host: string): string {
  if (host === '0.0.0.0' || host === '::') return '127.0.0.1'
  return host.includes(':') ? `[${host}]` : host
}
