import { readdirSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createMachine } from './one-machine.ts'

let machine: Awaited<ReturnType<typeof createMachine>>
/** What is printed of `HOUSE`: as JSON, and for a person. */
let json: Awaited<ReturnType<typeof check>>
let text: Awaited<ReturnType<typeof check>>
beforeAll(async () => {
  machine = await createMachine()
  await write(HOUSE)
  ;[json, text] = await Promise.all([check(['--json'], KEYS), check([], KEYS)])
})
afterAll(() => machine.cleanup())

const HOUSE = `
model_list:
  - model_name: fast
    litellm_params: { model: gpt-4o-mini, rpm: 50, timeout: 20, weight: 2 }
  - model_name: fast
    litellm_params:
      model: azure/mini
      api_base: "https://me.openai.azure.com/canary-path?key=canary-query"
      api_key: sk-canary-literal
      api_version: "2024-10-21"
      extra_headers: { x-note: canary-header }
      tpm: 1000
      cooldown_time: 7
  - model_name: slow
    litellm_params: { model: groq/llama, api_key: os.environ/MY_KEY }
  - model_name: last
    litellm_params: { model: groq/gemma, api_key: os.environ/IN_THE_FILE }
  - model_name: "fireworks_ai/*"
    litellm_params: { model: "fireworks_ai/*", configurable_clientside_auth_params: [api_key] }
environment_variables: { IN_THE_FILE: gsk-canary-file }
router_settings:
  num_retries: 4
  max_fallbacks: 3
  timeout: 99
  fallbacks: [{ fast: [slow] }, { slow: [last, fast] }]
  model_group_alias: { quick: fast }
litellm_settings: { success_callback: [langfuse] }
general_settings: { allowed_client_hosts: ["*.example.com"], master_key: sk-canary-master }
`
const KEYS = { OPENAI_API_KEY: 'sk-canary-usual', MY_KEY: 'gsk-canary-mine', IN_THE_FILE: 'canary-unused' }

const write = (config: string) => writeFile(join(machine.folder, 'house.yaml'), config)
const check = (args: string[], environment: Record<string, string> = {}) =>
  machine.run(['config', 'check', 'house.yaml', ...args], environment)

test('a good config is printed as the gateway will go by it, without Redis and without a gateway', () => {
  const { code, output } = json
  expect(code).toBe(0)
  const report = JSON.parse(output)
  expect(report).toMatchObject({
    aliases: { quick: 'fast' },
    caps: { max_attempts: 12, max_fallbacks: 3, num_retries: 4, timeout_s: 99 },
    client_credentials: { allowed: true, hosts: ['*.example.com'] },
    warnings: [expect.stringContaining('litellm_settings.success_callback has no effect')],
  })
  const [fast, slow, last, fireworks] = report.groups
  expect(fast).toMatchObject({
    name: 'fast',
    strategy: 'simple-shuffle',
    retries: { num_retries: 4 },
    fallbacks: { any_failure: ['slow', 'last'] },
    note: null,
    deployments: [
      {
        name: 'openai/gpt-4o-mini',
        host: 'api.openai.com',
        limits: { rpm: 50, tpm: null },
        weight: 2,
        timeout_s: 20,
        callable: true,
      },
      {
        name: 'azure/mini',
        host: 'me.openai.azure.com',
        limits: { rpm: null, tpm: 1000 },
        timeout_s: 99,
        cooldown: { cooldown_time_s: 7 },
      },
    ],
  })
  expect(slow.fallbacks.any_failure).toEqual(['last', 'fast'])
  expect(last.fallbacks.any_failure).toEqual([])
  expect(fireworks).toMatchObject({
    deployments: [{ callable: false, client_may_set: ['api_key'] }],
    note: expect.stringContaining('Send your own'),
  })
  expect(readdirSync(machine.folder)).toEqual(['house.yaml'])
})

test('a key is told by where it comes from: the file, a variable, nowhere', () => {
  const keys = JSON.parse(json.output).groups.flatMap(({ deployments }: { deployments: { key: object }[] }) =>
    deployments.map(({ key }) => key),
  )
  expect(keys).toEqual([
    { from: 'environment', variable: 'OPENAI_API_KEY' },
    { from: 'config', variable: null },
    { from: 'environment', variable: 'MY_KEY' },
    { from: 'config', variable: null },
    { from: 'none', variable: null },
  ])
})

test('no key, header, path or query is printed, as JSON neither', () => {
  for (const { code, output } of [text, json]) {
    expect(code).toBe(0)
    expect(output).not.toContain('canary')
  }
})

test('a person reads groups, keys, fallbacks, caps and warnings', () => {
  for (const line of [
    /^warning: litellm_settings\.success_callback has no effect/m,
    /^house\.yaml is good\. Model groups: fast, slow, last, fireworks_ai\/\*$/m,
    /^fast: simple-shuffle, num_retries 4$/m,
    /^ {2}openai\/gpt-4o-mini at api\.openai\.com; key from OPENAI_API_KEY; rpm 50, weight 2, .*timeout_s 20/m,
    /^ {2}azure\/mini at me\.openai\.azure\.com; key in the config; tpm 1000, .*cooldown_time_s 7$/m,
    /^ {2}fallbacks: slow, last$/m,
    /^ {2}fireworks_ai\/.*; key none; not callable as it is; .*clients may set api_key$/m,
    /^alias quick -> fast$/m,
    /^caps: max_attempts 12, max_fallbacks 3, num_retries 4, retry_after_s 0, timeout_s 99$/m,
    /^client credentials: taken, for \*\.example\.com$/m,
  ]) {
    expect(text.output).toMatch(line)
  }
})

test('a routing group is listed with the deployments of its models, an alias as what it stands for', async () => {
  const routing = `{ group_name: all, models: [slow, fast], routing_strategy: priority, model_priorities: { slow: 1, fast: 2 } }`
  await write(HOUSE.replace('router_settings:', `router_settings:\n  routing_groups: [${routing}]`))
  const { output } = await check(['--json'], KEYS)
  const { groups, aliases } = JSON.parse(output)
  expect(groups.map(({ name }: { name: string }) => name)).not.toContain('quick')
  expect(aliases).toEqual({ quick: 'fast' })
  expect(groups.find(({ name }: { name: string }) => name === 'all')).toMatchObject({
    note: null,
    deployments: [
      { name: 'groq/llama', order: 1 },
      { name: 'openai/gpt-4o-mini', order: 2 },
      { name: 'azure/mini', order: 2 },
    ],
  })
})

test.for([
  ['a variable that is not set', HOUSE, 'MY_KEY'],
  ['a value that is wrong', 'router_settings: { num_retries: many }', 'router_settings.num_retries'],
  ['a restriction that nobody holds', 'litellm_settings: { max_budget: 10 }', 'litellm_settings.max_budget'],
  ['no YAML', 'model_list: [', 'house.yaml is no valid YAML'],
] as const)('what would stop the start is said, with exit code 1: %s', async ([, config, named]) => {
  await write(config)
  for (const { code, output } of await Promise.all([check([]), check(['--json'])])) {
    expect(code).toBe(1)
    expect(output).toContain(named)
    expect(output).not.toMatch(/canary|\n\s+at /)
  }
})

test('a file that is not there is exit code 1', async () => {
  const { code, output } = await machine.run(['config', 'check', 'none.yaml'])
  expect({ code, output }).toMatchObject({
    code: 1,
    output: expect.stringContaining("none.yaml can't be read"),
  })
})
