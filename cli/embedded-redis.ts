import { spawn, type ChildProcess } from 'node:child_process'
import { mkdir, mkdtemp, readFile, rm, rmdir, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir, totalmem } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { z } from 'zod'
import { findRedisServer } from './find-redis.ts'
import { exitOf, type RunningProcess } from './running-process.ts'

/** The kernel's limit is 104 bytes with the closing zero on macOS, 108 on Linux. */
const SOCKET_PATH_BYTES_MAX = 103
const START_TIMEOUT_MS = 10_000
const STOP_TIMEOUT_MS = 10_000
const ANSWER_TIMEOUT_MS = 2000
const POLL_MS = 10

/** Written beside the data, so that the command line and the next start find a running Redis. */
const State = z.object({ pid: z.number().optional(), socket: z.string() })

/** What of the embedded Redis can be chosen. */
export type EmbeddedRedisOptions = {
  dataDir: string
  /** The server's path, else the one of `findRedisServer`. */
  server?: string
  /** From `chooseSocket`, for one that stays the same when Redis is started again; else a new one. */
  socket?: string
  appendfsync?: 'everysec' | 'always'
  /** Half of the machine's (or container's) memory by default. */
  memoryBytesMax?: number
  /** Called with each line the running server prints at level warning. */
  onWarning?: (line: string) => void
}

/** A running Redis of our own; `url` is for `createRedis`. */
export type EmbeddedRedis = RunningProcess & { url: string; socket: string }

/**
 * Starts Redis on a unix socket for one data folder and waits until it answers: append-only file on, nothing is ever
 * evicted, its own process group (a Ctrl-C of the terminal reaches only us, who stop it last). A Redis left behind by
 * a killed start is shut down cleanly first. The caller holds the folder's lock and calls `stop`.
 * @throws {ConfigError} when there is no server; an Error with the server's last words when it does not start.
 */
export async function startEmbeddedRedis(options: EmbeddedRedisOptions): Promise<EmbeddedRedis> {
  const dataDir = resolve(options.dataDir)
  const redisDir = join(dataDir, 'redis')
  const server = options.server ?? (await findRedisServer())
  await mkdir(redisDir, { recursive: true, mode: 0o700 })
  const socket = options.socket ?? (await chooseSocket(dataDir))
  await endLeftover(dataDir, socket)
  const child = spawn(server, serverArguments(redisDir, socket, options), {
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const exited = exitOf(child)
  const output = collectOutput(child)
  await writeFile(stateFile(dataDir), JSON.stringify({ pid: child.pid, socket }), { mode: 0o600 })
  const started = await waitUntilReady(socket, exited)
  if (!started || child.pid === undefined) {
    child.kill('SIGKILL')
    await exited
    await forget(dataDir, socket)
    throw new Error(`Redis (${server}) did not start: ${output.lastLines() || 'it printed nothing'}`)
  }
  output.passOnTo(options.onWarning)

  return {
    pid: child.pid,
    url: socketUrl(socket),
    socket,
    exited,
    async stop() {
      output.passOnTo(undefined)
      child.kill('SIGTERM')
      const timer = setTimeout(() => child.kill('SIGKILL'), STOP_TIMEOUT_MS)
      await exited
      clearTimeout(timer)
      await forget(dataDir, socket)
    },
  }
}

/** The address of the Redis that runs for this data folder, or null when none answers. */
export async function findEmbeddedRedis(dataDir: string): Promise<string | null> {
  const state = await readState(resolve(dataDir))
  if (!state || !(await ask(state.socket, 'PING'))) return null
  return socketUrl(state.socket)
}

/** What `createRedis` takes for a socket. */
export function socketUrl(socket: string): string {
  return `unix://${encodeURI(socket)}`
}

function serverArguments(redisDir: string, socket: string, options: EmbeddedRedisOptions): string[] {
  const memoryBytes = options.memoryBytesMax ?? Math.floor(availableMemoryBytes() / 2)
  const settings = {
    port: '0',
    unixsocket: socket,
    unixsocketperm: '700',
    dir: redisDir,
    daemonize: 'no',
    appendonly: 'yes',
    appendfsync: options.appendfsync ?? 'everysec',
    save: '',
    // What is sealed does not compress; trying to would be most of a rewrite's work. And small files are not worth one.
    rdbcompression: 'no',
    // A record is a hash of some twenty fields, few of them large: one piece of memory instead of forty. The name that all
    // versions know.
    'hash-max-ziplist-value': '4096',
    'auto-aof-rewrite-min-size': '256mb',
    maxmemory: String(memoryBytes),
    'maxmemory-policy': 'noeviction',
    loglevel: 'warning',
    logfile: '',
  }
  return Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value])
}

function availableMemoryBytes(): number {
  const constrained = process.constrainedMemory()
  return constrained > 0 ? Math.min(constrained, totalmem()) : totalmem()
}

/** The socket's path: in the data folder or, where that lies too deep for a socket, in a new private folder. */
export async function chooseSocket(dataDir: string): Promise<string> {
  const inside = join(resolve(dataDir), 'redis.sock')
  if (Buffer.byteLength(inside) <= SOCKET_PATH_BYTES_MAX) return inside
  return join(await mkdtemp(join(tmpdir(), 'byok-gateway-')), 'redis.sock')
}

/** Keeps the last lines for the error of a failed start; a running server's lines are passed on as warnings. */
function collectOutput(child: ChildProcess) {
  const lines: string[] = []
  let onLine: ((line: string) => void) | undefined
  for (const stream of [child.stdout, child.stderr]) {
    let rest = ''
    stream?.setEncoding('utf8').on('data', (chunk: string) => {
      const parts = (rest + chunk).split('\n')
      rest = parts.pop() ?? ''
      for (const line of parts) {
        lines.push(line)
        if (lines.length > 5) lines.shift()
        onLine?.(line.replace(/^\d+:\w .*? # /, ''))
      }
    })
  }
  return {
    lastLines: () => lines.join('\n'),
    passOnTo(handler: ((line: string) => void) | undefined) {
      onLine = handler
    },
  }
}

/** False when the server ended or did not listen in time. One that loads a long append-only file is waited for. */
async function waitUntilReady(socket: string, exited: Promise<unknown>): Promise<boolean> {
  const ended = exited.then(() => false as const)
  let giveUpAt = Date.now() + START_TIMEOUT_MS
  while (Date.now() < giveUpAt) {
    const answer = await Promise.race([ask(socket, 'PING'), ended])
    if (answer === false) return false
    if (answer?.startsWith('+PONG')) return true
    if (answer !== null) giveUpAt = Date.now() + START_TIMEOUT_MS
    await sleep(POLL_MS)
  }
  return false
}

/** Shuts a Redis of an earlier, killed start down; it would write to the same files. */
async function endLeftover(dataDir: string, newSocket: string): Promise<void> {
  const state = await readState(dataDir)
  if (!state) return
  const giveUpAt = Date.now() + STOP_TIMEOUT_MS
  while ((await ask(state.socket, 'SHUTDOWN')) !== null) {
    if (Date.now() > giveUpAt) {
      const message = `A Redis of an earlier start (process ${state.pid}) still uses ${dataDir} and does not end.`
      throw new Error(`${message} End it, then start again.`)
    }
    await sleep(POLL_MS)
  }
  if (state.socket !== newSocket) await forget(dataDir, state.socket)
}

/** Sends one inline command. Null: nobody listens. An empty answer: it listens, and closed or said nothing. */
function ask(socket: string, command: string): Promise<string | null> {
  return new Promise((done) => {
    let isConnected = false
    const connection = connect(socket)
    const finish = (answer: string | null) => {
      connection.destroy()
      done(answer)
    }
    connection.setTimeout(ANSWER_TIMEOUT_MS, () => finish(isConnected ? '' : null))
    connection.on('connect', () => {
      isConnected = true
      connection.write(`${command}\r\n`)
    })
    connection.on('data', (bytes) => finish(bytes.toString('utf8')))
    connection.on('close', () => finish(isConnected ? '' : null))
    connection.on('error', () => finish(isConnected ? '' : null))
  })
}

function stateFile(dataDir: string): string {
  return join(dataDir, 'redis.json')
}

async function readState(dataDir: string): Promise<z.infer<typeof State> | null> {
  try {
    return State.parse(JSON.parse(await readFile(stateFile(dataDir), 'utf8')))
  } catch {
    return null
  }
}

async function forget(dataDir: string, socket: string): Promise<void> {
  await rm(stateFile(dataDir), { force: true })
  await rm(socket, { force: true })
  // Not recursive: only a folder that was made for this socket is empty now.
  if (dirname(socket) !== dataDir) await rmdir(dirname(socket)).catch(() => {})
}
