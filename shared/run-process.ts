import { parseConfig, type Config } from './config.ts'
import { ConfigError } from './errors.ts'
import { createLog, type Logger } from './log.ts'

/**
 * Opens what a process needs and returns how to close it; gives up when `signal` aborts. `fail` ends the process in order, with
 * exit code 1, so that its supervisor starts it again: it is of no use as it is.
 */
export type StartProcess = (
  config: Config,
  log: Logger,
  signal: AbortSignal,
  fail: (reason: string) => void,
) => Promise<() => Promise<void>>

/**
 * The life of an API or worker process: configuration, start, a signal (or the end of its parent, when it is supervised),
 * stop. What can't start says why in one sentence and ends with exit code 1.
 * @param host The process, and its environment: handed in by the entry point, nothing else touches them.
 */
export async function runProcess(
  host: NodeJS.Process,
  environment: NodeJS.ProcessEnv,
  name: 'api' | 'worker',
  start: StartProcess,
): Promise<void> {
  const stopping = new AbortController()
  const stop = () => stopping.abort()
  host.once('SIGTERM', stop)
  host.once('SIGINT', stop)
  if (environment.GATEWAY_EXIT_WITH_PARENT === '1') host.once('disconnect', stop)
  try {
    const config = parseConfig(environment)
    const log = createLog(config.logLevel, name)
    host.once('exit', () => log.flush())
    const fail = (reason: string) => {
      log.error(`The ${name} gives up: ${reason}`)
      host.exitCode = 1
      stop()
    }
    const close = await start(config, log, stopping.signal, fail)
    if (!stopping.signal.aborted) {
      await new Promise((resolve) => stopping.signal.addEventListener('abort', resolve, { once: true }))
    }
    log.info(`The ${name} stops`)
    await close()
  } catch (error) {
    if (!stopping.signal.aborted) {
      host.stderr.write(`The ${name} can't start. ${describe(error)}\n`)
      host.exitCode = 1
    }
  }
  // What was opened here is closed; a connection that BullMQ opened for itself during an outage may not be.
  host.exit()
}

function describe(error: unknown): string {
  if (error instanceof ConfigError) return error.message
  return error instanceof Error ? (error.stack ?? error.message) : 'Unknown failure'
}
