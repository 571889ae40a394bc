import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { readBatchFields } from '../../cli/batch-options.ts'
import { readClientSettings } from '../../cli/client-settings.ts'
import { readOrMakeKeys } from '../../cli/local-keys.ts'

const SECRET = 'sk-do-not-print-this'
let folder: string

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'byok-test-options-'))
})

afterEach(() => rm(folder, { recursive: true, force: true }))

async function file(name: string, text: string): Promise<string> {
  await writeFile(join(folder, name), text)
  return join(folder, name)
}

/** Why it was refused. */
async function refusal(work: Promise<unknown>): Promise<string> {
  const error = await work.then(
    () => null,
    (reason: unknown) => reason,
  )
  expect(error).toMatchObject({ name: 'ConfigError' })
  const { message } = error as Error
  expect(message).not.toContain(SECRET)
  return message
}

const url = async (text?: string) =>
  (await readClientSettings({ GATEWAY_URL: text, GATEWAY_API_KEY: 'sk-gateway' })).url

const model = (key: string) => ({ model_name: 'm', litellm_params: { model: 'openai/gpt-4o', api_key: key } })

test('options are the fields of a batch, and what is not said is left to the gateway', async () => {
  expect(await readBatchFields({}, {})).toEqual({})
  const options = {
    model: 'm',
    window: '2h',
    concurrency: 8,
    maxErrors: 0,
    ordered: true,
    metadata: { a: 'b' },
    webhook: 'https://example.com/hook',
  }
  expect(await readBatchFields(options, {})).toEqual({
    model: 'm',
    completion_window: '2h',
    concurrency: 8,
    max_errors: 0,
    ordered_output: true,
    metadata: { a: 'b' },
    webhook: { url: 'https://example.com/hook' },
  })
})

test('a user_config comes as YAML or JSON, alone or under its name', async () => {
  const yaml = 'model_list:\n  - model_name: m\n    litellm_params: {model: openai/gpt-4o, api_key: sk-1}\n'
  const files = [
    await file('keys.yaml', yaml),
    await file('keys.json', JSON.stringify({ model_list: [model('sk-1')] })),
    await file('named.json', JSON.stringify({ user_config: { model_list: [model('sk-1')] } })),
  ]
  for (const userConfig of files) {
    expect(await readBatchFields({ userConfig }, {})).toEqual({
      user_config: { model_list: [model('sk-1')] },
    })
  }
})

test('os.environ/NAME is filled in here, since the gateway must not look into its own environment', async () => {
  const userConfig = await file('keys.json', JSON.stringify({ model_list: [model('os.environ/MY_KEY')] }))
  expect(await readBatchFields({ userConfig }, { MY_KEY: SECRET })).toEqual({
    user_config: { model_list: [model(SECRET)] },
  })
  expect(await refusal(readBatchFields({ userConfig }, {}))).toContain('MY_KEY, which is not set')
})

test('the key of --api-key-env is read from that variable', async () => {
  expect(await readBatchFields({ apiKeyEnv: 'MY_KEY' }, { MY_KEY: SECRET })).toEqual({ api_key: SECRET })
})

test('no message quotes a key, be it in a broken file or in the place of a name', async () => {
  const broken = await file('keys.yaml', `model_list:\n  - api_key: ${SECRET}\n   model_name: "m\n`)
  expect(await refusal(readBatchFields({ userConfig: broken }, {}))).toMatch(/no valid YAML.* line \d/)
  expect(await refusal(readBatchFields({ apiKeyEnv: SECRET }, {}))).toContain('--api-key-env')
  expect(await refusal(readBatchFields({ apiKey: SECRET }, {}))).toContain('not taken as an argument')
})

test('two sources of credentials, and a file that is none or is not there, are refused in a sentence', async () => {
  const userConfig = await file('keys.yaml', 'just text')
  const none = await file('none.yaml', 'other: 1')
  expect(await refusal(readBatchFields({ userConfig, apiKeyEnv: 'X' }, { X: 'y' }))).toContain('not both')
  expect(await refusal(readBatchFields({ userConfig }, {}))).toContain('must be a mapping')
  expect(await refusal(readBatchFields({ userConfig: none }, {}))).toContain('model_list')
  expect(await refusal(readBatchFields({ userConfig: join(folder, 'x.yaml') }, {}))).toContain('ENOENT')
})

test('the gateway is the one of GATEWAY_URL, with or without /v1, else the one of this machine', async () => {
  expect(await url()).toBe('http://127.0.0.1:4000')
  expect(await url('https://gateway.example/v1/')).toBe('https://gateway.example')
  expect(await url('https://gateway.example/path/')).toBe('https://gateway.example/path')
  for (const wrong of ['gateway.example', 'ftp://gateway.example', `https://u:${SECRET}@gateway.example`]) {
    expect(await refusal(url(wrong))).toContain('GATEWAY_URL')
  }
})

test('the key that a first start made is used on this machine, and is sent to no other', async () => {
  const { environment } = await readOrMakeKeys(folder)
  const key = environment.GATEWAY_MASTER_KEY
  const own = { GATEWAY_KEYS_DIR: folder }
  expect(await readClientSettings(own)).toMatchObject({ key })
  expect(await readClientSettings({ ...own, GATEWAY_URL: 'http://localhost:1' })).toMatchObject({ key })
  expect(await readClientSettings({ ...own, GATEWAY_API_KEY: 'sk-given' })).toMatchObject({ key: 'sk-given' })
  for (const GATEWAY_URL of [
    'https://gateway.example',
    'http://localhost.example',
    'http://127.0.0.1.example',
  ]) {
    expect(await refusal(readClientSettings({ ...own, GATEWAY_URL }))).toContain('GATEWAY_API_KEY')
  }
})
