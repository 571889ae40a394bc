import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { SDKS } from '../support/clients.ts'
import { startGateway, type Gateway } from '../support/gateway.ts'
import { startProcess } from '../support/processes.ts'
import { missingPythonSdk, PYTHON } from '../support/python.ts'
import { environment } from '../support/redis-process.ts'
import { EXPECTED, runScript, startScriptedMock } from '../support/sdk-script.ts'

const SCRIPT = fileURLToPath(new URL('../support/sdk_script.py', import.meta.url))
const reason = missingPythonSdk()
if (reason) console.log(`skipped: the script is not run in Python, since ${reason}`)

let mock: Awaited<ReturnType<typeof startScriptedMock>>
let gateway: Gateway

beforeAll(async () => {
  mock = await startScriptedMock()
  // Short, so that streams that are slow to begin have some.
  gateway = await startGateway({ env: { GATEWAY_STREAM_HEARTBEAT_MS: '50' } })
})
afterAll(async () => {
  await gateway?.stop()
  await mock?.close()
})

/** Each provider's own wire form, as aimock plays it. */
const FAMILIES = [
  { name: 'OpenAI', model: 'openai/gpt-4o', path: '/v1', hasEmbeddings: true },
  { name: 'a server of chat completions', model: 'hosted_vllm/m', path: '/v1', hasEmbeddings: true },
  { name: 'Azure', model: 'azure/a-deployment', path: '', hasEmbeddings: true },
  { name: 'Anthropic', model: 'anthropic/claude-sonnet-4-5', path: '', hasEmbeddings: false },
  { name: 'Gemini', model: 'gemini/gemini-2.5-flash', path: '', hasEmbeddings: false },
]

type Family = (typeof FAMILIES)[number]

const configOf = ({ model, path }: Family, key: string) => ({
  model_list: [{ model_name: 'mine', litellm_params: { model, api_key: key, api_base: mock.url + path } }],
  num_retries: 0,
})
const expectedOf = ({ hasEmbeddings }: Family) => ({
  ...EXPECTED,
  embedding: hasEmbeddings ? EXPECTED.embedding : null,
})

describe.each(SDKS)('one script with $name', ({ name, make }) => {
  test.each(FAMILIES)('at $name', async (family) => {
    const client = make({ baseURL: gateway.url, apiKey: gateway.masterKey, maxRetries: 0 })
    const key = `sk-${name.replace(' ', '-')}`
    const body = { model: 'mine', user_config: configOf(family, key) }
    expect(await runScript(client, body, family)).toEqual(expectedOf(family))
  })
})

test.skipIf(reason)('the same script with Python’s SDK, at all of them', async () => {
  const runs = FAMILIES.map((family) => ({
    name: family.name,
    has_embeddings: family.hasEmbeddings,
    user_config: configOf(family, 'sk-python'),
  }))
  const run = startProcess(PYTHON, [SCRIPT], {
    env: {
      ...environment(),
      GATEWAY_KEY: gateway.masterKey,
      GATEWAY_URL: gateway.url,
      RUNS: JSON.stringify(runs),
    },
  })
  expect(await run.ended(), run.output()).toBe(0)
  const lines = run.output().trim().split('\n').slice(-FAMILIES.length)
  expect(lines.map((line) => JSON.parse(line))).toEqual(
    FAMILIES.map((family) => ({ name: family.name, ...expectedOf(family) })),
  )
})
