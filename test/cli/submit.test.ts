import { appendFile, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { z } from 'zod'
import { Batch } from '../../shared/schemas/batch.ts'
import { batchesOf, inputLine, inputLines, lineOf } from '../support/batches.ts'
import { eventually, gate } from '../support/eventually.ts'
import { startProcess } from '../support/processes.ts'
import { completion, failure } from '../support/provider.ts'
import { environment, freePort } from '../support/redis-process.ts'
import { gateway, provider, useGateway } from '../support/stage.ts'

const COMMAND = fileURLToPath(new URL('../../cli/byok-gateway.mjs', import.meta.url))
const SECRET = 'sk-user-key-in-the-environment'
// One address for all API processes, as behind a service: a client comes back to where it was.
const port = String(await freePort())
const ResultLine = z.looseObject({ custom_id: z.string() })
let folder: string

// The operator's own group of this name is called with a client's key, where one comes without a config.
useGateway(() => ({
  env: { PORT: port },
  config: `
model_list:
  - model_name: mine
    litellm_params:
      model: openai/gpt-4o-mini
      api_key: sk-operator
      api_base: "${provider.url}/v1"
      configurable_clientside_auth_params: [api_key]
`,
}))

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'byok-test-submit-'))
  await writeFile(
    join(folder, 'keys.yaml'),
    `model_list:
  - model_name: mine
    litellm_params: { model: openai/gpt-4o-mini, api_key: os.environ/MY_KEY, api_base: "${provider.url}/v1" }
num_retries: 0
`,
  )
})

afterAll(() => rm(folder, { recursive: true, force: true }))

/** The command, as typed in the folder; through a shell, so that pipes can be written. */
function command(typed: string, env: Record<string, string> = {}) {
  const client = { GATEWAY_URL: gateway.url, GATEWAY_API_KEY: gateway.masterKey, MY_KEY: SECRET, ...env }
  const line = typed.replaceAll('byok-gateway', `exec "${process.execPath}" "${COMMAND}"`)
  return startProcess('sh', ['-c', line], { env: { ...environment(), ...client }, cwd: folder })
}

async function run(typed: string, env: Record<string, string> = {}) {
  const one = command(typed, env)
  const code = await one.ended()
  expect(one.output()).not.toContain(SECRET)
  return { code, output: one.output() }
}

async function write(name: string, lines: readonly object[]): Promise<void> {
  await writeFile(join(folder, name), lines.map((line) => `${JSON.stringify(line)}\n`).join(''))
}

/** The `custom_id` of each line of a file of results, sorted. */
async function idsIn(name: string): Promise<string[]> {
  const rows = (await readFile(join(folder, name), 'utf8')).split('\n')
  expect(rows.pop()).toBe('')
  return rows.map((row) => ResultLine.parse(JSON.parse(row)).custom_id).toSorted()
}

function idOf(output: string): string {
  return /Created (batch_\w+)\./.exec(output)?.[1] ?? `no id in: ${output}`
}

test('a file goes in and two come out: results, and the lines that failed; the exit code says which', async () => {
  await write('in.jsonl', [...inputLines(4), inputLine('bad')])
  provider.answer((call) => (lineOf(call) === 'bad' ? failure(400, 'bad_request') : completion('ok')))
  const files = '--output out.jsonl --errors err.jsonl'
  const { code, output } = await run(
    `byok-gateway submit in.jsonl --user-config keys.yaml --metadata a=b --watch ${files}`,
  )
  expect(output).toMatch(/Uploaded in\.jsonl as file-\w+\.\nCreated batch_\w+\.\n/)
  expect(output).toMatch(/batch_\w+ completed after \d+s: 4 of 5 lines completed, 1 failed/)
  expect(code).toBe(1)
  expect(await idsIn('out.jsonl')).toEqual(['line-0', 'line-1', 'line-2', 'line-3'])
  expect(await idsIn('err.jsonl')).toEqual(['bad'])
  // Filled in here from the variable that the file names.
  expect(new Set(provider.ledger.map(({ key }) => key))).toEqual(new Set([SECRET]))
})

test('batches are listed and shown, and the lines that did not complete run again on fresh keys', async () => {
  provider.answer((call) => (lineOf(call) === 'bad' ? failure(400, 'bad_request') : completion('ok')))
  const litellm_params = { model: 'openai/gpt-4o-mini', api_key: 'sk-old', api_base: `${provider.url}/v1` }
  const user_config = { model_list: [{ model_name: 'mine', litellm_params }] }
  const lines = [...inputLines(4), inputLine('bad')]
  const { id } = await batchesOf(gateway).start(lines, { user_config, metadata: { a: 'b' } })
  await batchesOf(gateway).ended(id)

  const [shown, listed] = await Promise.all([
    run(`byok-gateway batches show ${id}`),
    run('byok-gateway batches list --limit 1'),
  ])
  expect(shown).toEqual({ code: 0, output: expect.stringMatching(/^metadata: +a=b$/m) })
  expect(shown.output).toMatch(/^lines: +5 of 5 done$/m)
  expect(listed.output).toMatch(new RegExp(`^ID .*\n${id} +completed .* 5/5 +1 `))

  provider.ledger.length = 0
  provider.answer(() => completion('ok'))
  const retry = `byok-gateway batches retry ${id} --user-config keys.yaml --watch --output rest.jsonl`
  expect(await run(retry)).toEqual({ code: 0, output: expect.stringContaining('1 of 1 lines completed') })
  expect(await idsIn('rest.jsonl')).toEqual(['bad'])
  expect(provider.ledger.map(({ key }) => key)).toEqual([SECRET])
})

test('a script pipes lines in and gets one JSON document out', async () => {
  await write('piped.jsonl', inputLines(3, 'p'))
  const { code, output } = await run(
    'cat piped.jsonl | byok-gateway submit - --api-key-env MY_KEY --watch --json 2>notes',
  )
  expect(await readFile(join(folder, 'notes'), 'utf8')).toContain('Created batch_')
  expect(code).toBe(0)
  const batch = Batch.parse(JSON.parse(output))
  expect(batch).toMatchObject({ status: 'completed', request_counts: { total: 3, completed: 3, failed: 0 } })
  expect(new Set(provider.ledger.map(({ key }) => key))).toEqual(new Set([SECRET]))
})

test('Ctrl-C leaves the batch running; watching goes on by its id, through a restart of the gateway, and no line is lost or doubled', async () => {
  await write('many.jsonl', inputLines(12, 'm'))
  const held = gate()
  provider.answer((call) => ({
    ...completion('ok'),
    until: Number(lineOf(call).slice(2)) < 4 ? undefined : held.opened,
  }))
  const first = command('byok-gateway submit many.jsonl --user-config keys.yaml --watch --output many.out')
  await eventually('four results are in the file', async () => (await idsIn('many.out')).length === 4)
  first.kill('SIGINT')
  expect(await first.ended()).toBe(130)
  const id = idOf(first.output())
  expect(first.output()).toContain(`byok-gateway watch ${id} --output many.out`)
  expect((await batchesOf(gateway).read(id)).status).toBe('in_progress')

  // As if the machine had died while it wrote.
  await appendFile(join(folder, 'many.out'), '{"id":"batch_req_12')
  const second = command(`byok-gateway watch ${id} --output many.out`)
  await eventually('it watches', () => second.output().includes('4/12 done'))
  gateway.api.kill('SIGKILL')
  await eventually('it has noticed', () => second.output().includes('No gateway answers'))
  await gateway.replaceApi()
  held.open()
  expect(await second.ended()).toBe(0)
  expect(second.output()).toContain('The gateway is back.')
  expect(second.output()).toContain('12 of 12 lines completed')
  expect(await idsIn('many.out')).toEqual(
    inputLines(12, 'm')
      .map((line) => line.custom_id)
      .toSorted(),
  )
})

test('results come in the order of the input when that is asked for', async () => {
  await write('ordered.jsonl', inputLines(3, 'o'))
  const held = gate()
  provider.answer((call) => ({
    ...completion('ok'),
    until: lineOf(call) === 'o-2' ? undefined : held.opened,
  }))
  const watching = command(
    'byok-gateway submit ordered.jsonl --user-config keys.yaml --ordered --watch --output ordered.out',
  )
  await eventually('the batch is there', () => watching.output().includes('Created'))
  await batchesOf(gateway).when(
    'has its last line done',
    idOf(watching.output()),
    (batch) => batch.progress.completed === 1,
  )
  held.open()
  expect(await watching.ended()).toBe(0)
  const rows = (await readFile(join(folder, 'ordered.out'), 'utf8')).trimEnd().split('\n')
  expect(rows.map((row) => ResultLine.parse(JSON.parse(row)).custom_id)).toEqual(['o-0', 'o-1', 'o-2'])
})

test('a cancelled batch ends the watching with a code of its own', async () => {
  await write('held.jsonl', inputLines(2, 'h'))
  const held = gate()
  provider.answer(() => ({ ...completion('ok'), until: held.opened }))
  const watching = command('byok-gateway submit held.jsonl --user-config keys.yaml --concurrency 1 --watch')
  await eventually('a call is open', () => provider.open() === 1)
  // Its line is called before the command has the answer that names the batch.
  await eventually('it says which batch', () => watching.output().includes('Created batch_'))
  const id = idOf(watching.output())
  expect(await run(`byok-gateway batches cancel ${id}`)).toEqual({
    code: 0,
    output: expect.stringMatching(/status: +cancelling/),
  })
  held.open()
  expect(await watching.ended()).toBe(3)
  expect(watching.output()).toMatch(/cancelled after .* 1 of 2 lines completed, 1 cancelled/)
})

test('what the gateway refuses is shown with param and code: lines of the input by number', async () => {
  await write('wrong.jsonl', [inputLine('a'), inputLine('a')])
  const invalid = await run('byok-gateway submit wrong.jsonl --user-config keys.yaml --watch')
  expect(invalid.code).toBe(1)
  expect(invalid.output).toMatch(/line 2: .*\(param custom_id, code duplicate_custom_id\)/)

  const [refused, stranger, unknown] = await Promise.all([
    run('byok-gateway submit wrong.jsonl --user-config keys.yaml --window 1y'),
    run('byok-gateway batches show batch_1'),
    run('byok-gateway submit wrong.jsonl', { GATEWAY_API_KEY: 'sk-wrong' }),
  ])
  expect(refused).toEqual({ code: 2, output: expect.stringMatching(/\(param completion_window, code \w+\)/) })
  expect(stranger).toEqual({ code: 2, output: 'byok-gateway: No such batch. (code not_found)\n' })
  expect(unknown).toEqual({ code: 2, output: expect.stringContaining('(code invalid_api_key)') })
  expect(unknown.output).not.toContain('sk-wrong')
})

test('jobs are listed, shown and cancelled', async () => {
  provider.answer(() => ({ kind: 'hang' }))
  const line = inputLine('j').body
  const job = await gateway.submit({
    ...line,
    model: 'gpt-4o-mini',
    api_key: SECRET,
    api_base: `${provider.url}/v1`,
  })
  await eventually('its call is open', () => provider.open() === 1)
  const listed = await run('byok-gateway jobs list --status in_progress')
  expect(listed.output).toMatch(new RegExp(`^${job.id} +in_progress .*gpt-4o-mini`, 'm'))
  const shown = await run(`byok-gateway jobs show ${job.id}`)
  expect(shown.output).toMatch(/^1 +\S+ +in_flight$/m)
  expect(await run(`byok-gateway jobs cancel ${job.id} --json`)).toMatchObject({ code: 0 })
  expect((await gateway.ended(job.id)).status).toBe('cancelled')
})
