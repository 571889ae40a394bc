import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { Command, CommanderError } from 'commander'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { addClientCommands } from '../../cli/client-commands.ts'
import { persist } from '../../cli/gateway-client.ts'
import { submit } from '../../cli/submit.ts'
import type { Terminal } from '../../cli/terminal.ts'
import { watch } from '../../cli/watch.ts'
import { GatewayError, InvalidRequestError, UnavailableError } from '../../shared/errors.ts'
import { freePort } from '../support/redis-process.ts'
import { createMachine, type Machine } from './one-machine.ts'

const quiet = () => {}
let machine: Machine
let env: Record<string, string>

beforeAll(async () => {
  machine = await createMachine()
  env = { GATEWAY_URL: `http://127.0.0.1:${await freePort()}`, GATEWAY_API_KEY: 'sk-gateway' }
})

afterAll(() => machine.cleanup())

/** Parses arguments as the command does; what gets past that would call a gateway that is not there. */
async function parse(...args: string[]): Promise<string> {
  const said: string[] = []
  const program = new Command().exitOverride().configureOutput({ writeErr: (text) => said.push(text) })
  addClientCommands(program, env)
  await expect(program.parseAsync(args, { from: 'user' })).rejects.toThrow(CommanderError)
  return said.join('')
}

test.each([
  ['no file', ['submit'], "missing required argument 'file'"],
  ['a number that is none', ['submit', 'lines.jsonl', '--concurrency', 'many'], 'whole number from 1'],
  ['an empty number', ['submit', 'lines.jsonl', '--max-errors', ''], 'whole number from 0'],
  ['a pair that is none', ['submit', 'lines.jsonl', '--metadata', 'alone'], 'key=value'],
  ['a retry of a single job', ['jobs', 'retry', 'job_1'], "unknown command 'retry'"],
])('%s is a wrong use', async (_, args, sentence) => {
  expect(await parse(...args)).toContain(sentence)
})

test('what can not be done as it was asked is refused before a gateway is called', async () => {
  const lines = join(machine.folder, 'lines.jsonl')
  const used = join(machine.folder, 'used.jsonl')
  await Promise.all([writeFile(lines, '{}\n'), writeFile(used, '{}\n')])
  const terminal: Terminal = {
    environment: env,
    signal: new AbortController().signal,
    stdin: Object.assign(new PassThrough(), { isTTY: true }),
    stdout: new PassThrough(),
    print: quiet,
    say: quiet,
    warn: quiet,
  }
  const asked = (file: string, options: object) => submit(file, { endpoint: '/v1/x', ...options }, terminal)
  await expect(asked('none.jsonl', {})).rejects.toThrow('none.jsonl is no file')
  await expect(asked(machine.folder, {})).rejects.toThrow('is no file')
  await expect(asked('-', {})).rejects.toThrow('pipe')
  await expect(asked(lines, { output: 'x' })).rejects.toThrow('give --watch too')
  await expect(asked(lines, { watch: true, output: used })).rejects.toThrow('is there already')
  const settings = { url: 'http://127.0.0.1:9', key: 'sk-gateway' }
  const both = { output: lines, errors: lines }
  await expect(watch('batch_1', both, { settings, terminal })).rejects.toThrow('two different files')
})

test('a wrong use ends with exit code 2, and a key that was typed is never repeated', async () => {
  const unknown = await machine.run(['watch', 'batch_1', '--apikey=sk-do-not-print'], env)
  expect(unknown).toEqual({ code: 2, output: expect.stringContaining("unknown option '--apikey=...'") })
  const typed = await machine.run(['submit', 'lines.jsonl', '--api-key', 'sk-do-not-print'], env)
  expect(typed).toEqual({ code: 2, output: expect.stringContaining('--api-key-env') })
  expect(unknown.output + typed.output).not.toContain('do-not-print')
})

test('a gateway that does not answer is named at once', async () => {
  expect(await machine.run(['watch', 'batch_1'], env)).toEqual({
    code: 2,
    output: `byok-gateway: No gateway answers at ${env.GATEWAY_URL} (ECONNREFUSED). Start it, or set GATEWAY_URL.\n`,
  })
})

test('what can get better by itself is tried again, told of, and its advice obeyed', async () => {
  const told: string[] = []
  let tries = 0
  const startedAtMs = performance.now()
  const value = await persist(
    async () => {
      tries += 1
      if (tries === 1) throw new UnavailableError('away')
      if (tries === 2)
        throw new GatewayError(429, 't', 'c', 'slow', { shouldRetry: true, retryAfterSeconds: 0.6 })
      return 'done'
    },
    { signal: new AbortController().signal, onWait: ({ message }) => told.push(message), giveUpMs: Infinity },
  )
  expect({ value, told }).toEqual({ value: 'done', told: ['away', 'slow'] })
  expect(performance.now() - startedAtMs).toBeGreaterThanOrEqual(840)
})

function throwing(error: Error): () => Promise<never> {
  return async () => {
    throw error
  }
}

test('what can not get better is thrown at once; so is what lasts too long, and what was interrupted', async () => {
  const stopped = new AbortController()
  const trying = (error: Error, giveUpMs = Infinity) =>
    persist(throwing(error), { signal: stopped.signal, onWait: () => stopped.abort(), giveUpMs })
  await expect(trying(new InvalidRequestError('no'))).rejects.toThrow('no')
  await expect(trying(new Error('ours'))).rejects.toThrow('ours')
  await expect(trying(new UnavailableError('long'), -1)).rejects.toThrow('long')
  await expect(trying(new UnavailableError('away'))).rejects.toMatchObject({ name: 'AbortError' })
})
