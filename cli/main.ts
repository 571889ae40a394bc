import { existsSync, readFileSync } from 'node:fs'
import { Command, InvalidArgumentError } from 'commander'
import { ConfigError, GatewayError } from '../shared/errors.ts'
import { addClientCommands, USAGE } from './client-commands.ts'
import { startNodeChild } from './node-child.ts'
import { readStopTimeoutMs } from './settings.ts'
import { addTenantCommands } from './tenant-commands.ts'

// What a command alone needs is loaded with it: most of them are over sooner than all of the code is read.

// What is set already wins over the file.
if (existsSync('.env')) process.loadEnvFile('.env')
const environment = process.env
const print = (text: string) => void process.stdout.write(text)
const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as {
  version: string
}

const program = new Command('byok-gateway')
  .description("An async job gateway for LLM completions on your users' own provider keys")
  .version(version)
  .exitOverride(({ exitCode }) => process.exit(exitCode === 0 ? 0 : USAGE))
  .configureOutput({
    // What was typed is quoted in errors, and may be `--api-key=...`, which is no option.
    outputError: (text, write) => write(text.replaceAll(/(--[\w-]+)=[^']*/g, '$1=...')),
  })

program
  .command('start')
  .description('run everything on this machine: Redis (unless REDIS_URL is set), the API and workers')
  .option('--workers <n>', 'how many worker processes', parseCount, 1)
  .action(async (options: { workers: number }) => {
    const [{ start }, { createLog }] = await Promise.all([import('./start.ts'), import('../shared/log.ts')])
    const log = createLog(environment.LOG_LEVEL || 'info', 'start')
    process.once('exit', () => log.flush())
    await start(options, { environment, log, print, isTerminal: process.stdout.isTTY, onSignal })
  })

for (const name of ['api', 'worker']) {
  program
    .command(name)
    .description(`run one ${name} process on the Redis of REDIS_URL`)
    .action(() => runAlone(`${name}/main.ts`))
}

addTenantCommands(program, { environment, print })

program
  .command('config')
  .description("the operator's config.yaml")
  .command('check <file>')
  .description('load a config.yaml as the gateway would and print what it comes to')
  .option('--json', 'print it as JSON', false)
  .action(async (file: string, { json: isJson }: { json: boolean }) => {
    const { checkConfig } = await import('./check-config.ts')
    checkConfig(file, { isJson }, { environment, print })
  })

addClientCommands(program, environment)

try {
  await program.parseAsync()
} catch (error) {
  // What the person at the terminal can mend is said in a sentence; anything else is ours, with its stack.
  const isTheirs = error instanceof ConfigError || error instanceof GatewayError
  process.stderr.write(`byok-gateway: ${isTheirs ? error.message : inspectError(error)}\n`)
  process.exitCode = 1
}

function parseCount(text: string): number {
  const count = Number(text)
  if (!Number.isInteger(count) || count < 1 || count > 64)
    throw new InvalidArgumentError('It must be 1 to 64.')
  return count
}

function onSignal(handler: () => void): void {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, handler)
}

/** The process is a child like those of `start`, so that its own file needs to know one way of being run only. */
async function runAlone(file: string): Promise<void> {
  const child = await startNodeChild(file, environment, readStopTimeoutMs(environment))
  onSignal(() => void child.stop())
  const { code } = await child.exited
  process.exitCode = code ?? 1
}

function inspectError(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error)
}
