import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

// As `npm start` runs our processes: from code that was compiled before.
const ENVIRONMENT = {
  PATH: process.env.PATH,
  HOME: process.env.HOME,
  NODE_ENV: 'production',
  NODE_COMPILE_CACHE: fileURLToPath(new URL('../../node_modules/.cache/byok-bench', import.meta.url)),
}

/** A program of `bench/processes` and where it listens ('' when it does not). */
export type Helper = Child & { url: string }

const START_TIMEOUT_MS = 120_000
const STOP_TIMEOUT_MS = 15_000
const POLL_MS = 50
const SIGNALS = ['SIGINT', 'SIGTERM'] as const

/** A process of the benchmark. */
export type Child = { name: string; pid: number; process: ChildProcess; logTail: () => string }

/**
 * Starts the processes of one benchmark run, each with its output in a file of a temporary folder, and ends all of them,
 * also when the run fails, crashes or is interrupted.
 */
export function createChildren() {
  const folder = mkdtempSync(join(tmpdir(), 'byok-bench-'))
  const children: Child[] = []
  const closers: (() => Promise<unknown>)[] = []

  /** Starts a Node program with exactly this environment beside PATH and HOME: nothing of the caller's own gets in. */
  function start(name: string, file: string, options: StartOptions = {}): Child {
    const logFile = join(folder, `${name.replaceAll(' ', '-')}-${children.length}.log`)
    const log = openSync(logFile, 'a')
    const child = fork(file, options.args ?? [], {
      env: { ...ENVIRONMENT, ...options.env },
      execArgv: options.nodeArgs ?? [],
      stdio: ['ignore', log, log, 'ipc'],
    })
    const started = {
      name,
      pid: child.pid ?? -1,
      process: child,
      logTail: () => readFileSync(logFile, 'utf8').slice(-2000),
    }
    children.push(started)
    return started
  }

  /** Starts a program of `bench/processes` and waits for the message in which it says where it listens. */
  async function startHelper(name: string, file: string, args: string[] = []): Promise<Helper> {
    const child = start(name, file, { args })
    const { url } = await ask<{ url: string }>(child, null, START_TIMEOUT_MS)
    return { ...child, url }
  }

  async function stop(): Promise<void> {
    for (const signal of SIGNALS) process.off(signal, onSignal)
    process.off('uncaughtException', onCrash)
    // The last one started goes first: the gateway before its Redis and its upstream.
    for (const child of children.toReversed()) await end(child)
    for (const close of closers.toReversed()) await close().catch(() => {})
    rmSync(folder, { recursive: true, force: true })
  }

  const onSignal = () => void stop().finally(() => process.exit(130))
  for (const signal of SIGNALS) process.once(signal, onSignal)
  const onCrash = (reason: Error) => {
    console.error(reason)
    void stop().finally(() => process.exit(1))
  }
  process.once('uncaughtException', onCrash)

  return {
    folder,
    start,
    startHelper,
    stop,
    /** Ends one child before the others. */
    end,
    /** Something else to close at the end, after the processes. */
    closeLast: (close: () => Promise<unknown>) => closers.push(close),
  }
}

export type Children = ReturnType<typeof createChildren>

type StartOptions = { args?: string[]; env?: Record<string, string>; nodeArgs?: string[] }

/**
 * Sends a message to a program of `bench/processes` (null: nothing) and waits for its next answer.
 * @throws an Error with its last output when it ends or says nothing in time.
 */
export async function ask<Answer>(child: Child, message: object | null, timeoutMs: number): Promise<Answer> {
  const answered = Promise.withResolvers<Answer>()
  const onMessage = (answer: unknown) => answered.resolve(answer as Answer) // our own programs, both ends typed
  const onExit = () => answered.reject(new Error(`${child.name} ended. Its last output:\n${child.logTail()}`))
  const timer = setTimeout(
    () => answered.reject(new Error(`${child.name} did not answer in ${timeoutMs} ms:\n${child.logTail()}`)),
    timeoutMs,
  )
  child.process.once('message', onMessage).once('exit', onExit)
  try {
    if (message) child.process.send(message)
    return await answered.promise
  } finally {
    clearTimeout(timer)
    child.process.off('message', onMessage).off('exit', onExit)
  }
}

/**
 * Calls `attempt` until it returns true.
 * @throws an Error with the last output of the children it depends on when one ends or the time is over.
 */
export async function waitUntil(
  what: string,
  children: readonly Child[],
  attempt: () => Promise<boolean>,
): Promise<void> {
  const giveUpAt = performance.now() + START_TIMEOUT_MS
  let lastError: unknown
  while (performance.now() < giveUpAt && !children.some(hasEnded)) {
    try {
      if (await attempt()) return
    } catch (error) {
      lastError = error
    }
    await sleep(POLL_MS)
  }
  const logs = children.map((child) => `--- ${child.name}\n${child.logTail()}`).join('\n')
  throw new Error(`It did not come about that ${what}.\n${logs}`, { cause: lastError })
}

/** A TCP port that was free a moment ago. */
export async function findFreePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  await once(server, 'close')
  if (address === null || typeof address === 'string') throw new Error('No free port was given')
  return address.port
}

function hasEnded(child: Child): boolean {
  return child.process.exitCode !== null || child.process.signalCode !== null
}

async function end(child: Child): Promise<void> {
  if (hasEnded(child)) return
  const exited = once(child.process, 'exit')
  child.process.kill('SIGTERM')
  const timer = setTimeout(() => child.process.kill('SIGKILL'), STOP_TIMEOUT_MS)
  await exited
  clearTimeout(timer)
}
