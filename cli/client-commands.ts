import { InvalidArgumentError, Option, type Command } from 'commander'
import { ConfigError, GatewayError } from '../shared/errors.ts'
import { readClientSettings } from './client-settings.ts'
import { describeError } from './gateway-client.ts'
import { BATCHES, cancelThing, JOBS, listThings, showThing, type ListOptions } from './lists.ts'
import type { Environment } from './settings.ts'
import { retryBatch, submit, type RetryOptions, type SubmitOptions } from './submit.ts'
import { INTERRUPTED, type Terminal } from './terminal.ts'
import { watch, type WatchOptions } from './watch.ts'

/** The exit code of a command that was wrong, or that the gateway refused. */
export const USAGE = 2
/** A terminal and npm both pass one Ctrl-C on: what comes this soon is the same one. */
const SAME_SIGNAL_MS = 1000

const CALLS = `
The gateway is called at GATEWAY_URL (http://127.0.0.1:4000) with GATEWAY_API_KEY; without that, one on this machine
with the key of its first start. Keys of providers come from a file or a variable, never from an argument.
Exit code: 0 all is done, 1 lines or the batch failed, 2 wrong use or refused, 3 cancelled or expired, 130 after Ctrl-C.`

/** Adds the commands that talk to a running gateway over HTTP. */
export function addClientCommands(program: Command, environment: Environment): void {
  const session = { environment }

  withBatchOptions(
    program.command('submit <file>').description('run a file of lines as a batch; "-" reads a pipe'),
  )
    .option(
      '--endpoint <path>',
      'which endpoint the lines are for; "*": each names its own',
      '/v1/chat/completions',
    )
    .action((file: string, options: SubmitOptions) =>
      run(session, options, (terminal) => submit(file, options, terminal)),
    )

  withFileOptions(
    program
      .command('watch <id>')
      .description('watch a batch to its end; goes on with files that an earlier watch began'),
  )
    .addHelpText('after', CALLS)
    .action((id: string, options: WatchOptions) =>
      run(session, options, async (terminal) =>
        watch(id, options, { settings: await readClientSettings(environment), terminal }),
      ),
    )

  const jobs = program.command('jobs').description('single completions').addHelpText('after', CALLS)
  addList(jobs, session, JOBS).option('--status <status>', 'only those that are this')
  addShowAndCancel(jobs, session, JOBS)

  const batches = program.command('batches').description('files of completions').addHelpText('after', CALLS)
  addList(batches, session, BATCHES)
  addShowAndCancel(batches, session, BATCHES)
  withBatchOptions(
    batches
      .command('retry <id>')
      .description('a new batch of the lines that did not complete, with credentials anew'),
  ).action((id: string, options: RetryOptions) =>
    run(session, options, (terminal) => retryBatch(id, options, terminal)),
  )
}

type Session = { environment: Environment }

/**
 * Runs one command and sets the exit code. What the person at the terminal can mend is said in a sentence; anything
 * else is ours and is thrown.
 */
async function run(
  { environment }: Session,
  { json }: { json?: boolean },
  work: (terminal: Terminal) => Promise<number>,
): Promise<void> {
  const terminal: Terminal = {
    environment,
    signal: signalOfInterrupt(),
    stdin: process.stdin,
    stdout: process.stdout,
    print,
    say: json ? warn : (line) => print(`${line}\n`),
    warn,
  }
  try {
    process.exitCode = await work(terminal)
  } catch (error) {
    if (terminal.signal.aborted) {
      process.exitCode = INTERRUPTED
    } else if (error instanceof ConfigError || error instanceof GatewayError) {
      const message = error instanceof GatewayError ? describeError(error) : error.message
      warn(`byok-gateway: ${message}`)
      process.exitCode = USAGE
    } else throw error
  }
}

const print = (text: string) => void process.stdout.write(text)
const warn = (line: string) => void process.stderr.write(`${line}\n`)

function signalOfInterrupt(): AbortSignal {
  const interrupted = new AbortController()
  let firstAtMs: number | null = null
  const stop = () => {
    firstAtMs ??= performance.now()
    interrupted.abort()
    if (performance.now() - firstAtMs > SAME_SIGNAL_MS) process.exit(INTERRUPTED)
  }
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, stop)
  // Whoever read what is printed has gone.
  process.stdout.once('error', stop)
  return interrupted.signal
}

function addList<Thing>(
  parent: Command,
  session: Session,
  kind: Parameters<typeof listThings<Thing>>[0],
): Command {
  return parent
    .command('list')
    .description('newest first')
    .option('--limit <n>', 'how many', parseCount(1), 20)
    .option('--after <id>', 'those behind this one')
    .option('--json', 'print them as JSON')
    .action((options: ListOptions) =>
      run(session, options, (terminal) => listThings(kind, options, terminal)),
    )
}

function addShowAndCancel<Thing>(
  parent: Command,
  session: Session,
  kind: Parameters<typeof showThing<Thing>>[0],
): void {
  parent
    .command('show <id>')
    .description('how one stands')
    .option('--json', 'print it as JSON, with its answer')
    .action((id: string, options: { json?: boolean }) =>
      run(session, options, (terminal) => showThing(kind, id, options, terminal)),
    )
  parent
    .command('cancel <id>')
    .description('end one; what it has done is kept')
    .option('--json', 'print it as JSON')
    .action((id: string, options: { json?: boolean }) =>
      run(session, options, (terminal) => cancelThing(kind, id, options, terminal)),
    )
}

function withBatchOptions(command: Command): Command {
  command
    .option('--user-config <file>', 'YAML or JSON with deployments and keys; os.environ/NAME is filled in')
    .option('--api-key-env <name>', "the variable that holds the provider's key")
    .addOption(new Option('--api-key [key]').hideHelp())
    .option('--model <model>', 'for lines that name none')
    .option('--window <time>', 'how long it may take, 5m to 7d (default: 24h)')
    .option('--concurrency <n>', 'how many lines may be in flight at once', parseCount(1))
    .option('--max-errors <n>', 'start no new line after more failed ones', parseCount(0))
    .option('--ordered', 'results in the order of the input; files are filled at the end')
    .option('--metadata <key=value>', 'a note kept with the batch; may be given again', addPair)
    .option('--webhook <url>', 'is told of the end')
    .option('--watch', 'watch it to its end')
  return withFileOptions(command, 'with --watch: ').addHelpText('after', CALLS)
}

function withFileOptions(command: Command, when = ''): Command {
  return command
    .option('--output <file>', `${when}gather the results in it as they come`)
    .option('--errors <file>', `${when}gather the lines that did not complete`)
    .option('--json', 'print the batch as JSON, and nothing else on stdout')
}

function parseCount(least: number): (text: string) => number {
  return (text) => {
    const count = Number(text)
    if (!Number.isSafeInteger(count) || count < least || text.trim() === '') {
      throw new InvalidArgumentError(`It must be a whole number from ${least} on.`)
    }
    return count
  }
}

function addPair(text: string, pairs: Record<string, string> = {}): Record<string, string> {
  const at = text.indexOf('=')
  if (at < 1) throw new InvalidArgumentError('It must be key=value.')
  return { ...pairs, [text.slice(0, at)]: text.slice(at + 1) }
}
