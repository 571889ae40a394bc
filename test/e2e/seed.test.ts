import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { OpenAI } from 'openai'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { startAimock } from '../support/aimock.ts'
import { createCertificates } from '../support/certificates.ts'
import { chat, SDKS } from '../support/clients.ts'
import { startGateway, type Gateway } from '../support/gateway.ts'
import { completion, failure, startProvider, type TestProvider } from '../support/provider.ts'
import { ownConfig } from '../support/requests.ts'

// Every snippet of the contract we start from, sent by the official SDKs. Placeholders ("my-azure-base") have real
// values here; public hosts are found at a local provider that has a certificate for each of these names.
const AZURE = 'my-azure.openai.azure.com'
const OPENAI = 'api.openai.com'
const FIREWORKS = 'api.fireworks.ai'
const FIREWORKS_DEV = 'litellm-dev.direct.fireworks.ai'
const EVIL = 'litellm.evil.com'
const HOSTS = [AZURE, OPENAI, FIREWORKS, FIREWORKS_DEV, EVIL]
const BYPASS = `https://${EVIL}/x.direct.fireworks.ai/v1`

const OPERATOR_KEYS = ['operator-openai-key', 'operator-fireworks-key']
const CONFIG = String.raw`
model_list:
  - model_name: "gpt-3.5-turbo"
    litellm_params:
      model: "openai/gpt-3.5-turbo"
      api_key: os.environ/OPERATOR_OPENAI_KEY
  - model_name: "fireworks_ai/*"
    litellm_params:
      model: "fireworks_ai/*"
      api_key: os.environ/OPERATOR_FIREWORKS_KEY
      configurable_clientside_auth_params: ["api_base"]
  - model_name: "fireworks_ai/matched-*"
    litellm_params:
      model: "fireworks_ai/matched-*"
      api_key: os.environ/OPERATOR_FIREWORKS_KEY
      configurable_clientside_auth_params: [{"api_base": "^https://litellm.*direct\.fireworks\.ai/v1$"}]
`

let provider: TestProvider
let folder: string
/** Without models of the operator's, and with them. */
let plain: Gateway
let operated: Gateway

beforeAll(async () => {
  const certificates = createCertificates(HOSTS)
  folder = await mkdtemp(join(tmpdir(), 'byok-test-seed-'))
  const caFile = join(folder, 'ca.pem')
  await writeFile(caFile, certificates.ca)
  provider = await startProvider({ tls: certificates })
  const env = {
    GATEWAY_TEST_RESOLVE: HOSTS.map((host) => `${host}=127.0.0.1:${provider.port}`).join(','),
    GATEWAY_TEST_CA: caFile,
    OPERATOR_OPENAI_KEY: 'operator-openai-key',
    OPERATOR_FIREWORKS_KEY: 'operator-fireworks-key',
    // What a client configures never falls back to the environment.
    OPENAI_API_KEY: 'environment-openai-key',
    AZURE_API_KEY: 'environment-azure-key',
  }
  ;[plain, operated] = await Promise.all([startGateway({ env }), startGateway({ env, config: CONFIG })])
})

afterAll(async () => {
  await Promise.all([plain?.stop(), operated?.stop()])
  await provider?.close()
  await rm(folder, { recursive: true, force: true })
})

beforeEach(() => {
  provider.ledger.length = 0
  provider.answer(() => completion('a short poem'))
})

const userConfig = () => ({
  model_list: [
    {
      model_name: 'user-azure-instance',
      litellm_params: {
        model: 'azure/chatgpt-v-2',
        api_key: 'user-azure-key',
        api_version: '2024-10-21',
        api_base: `https://${AZURE}`,
        timeout: 10,
      },
      tpm: 240_000,
      rpm: 1800,
    },
    {
      model_name: 'user-openai-instance',
      litellm_params: { model: 'gpt-3.5-turbo', api_key: 'user-openai-key', timeout: 10 },
      tpm: 240_000,
      rpm: 1800,
    },
  ],
  num_retries: 2,
  allowed_fails: 3,
  fallbacks: [{ 'user-azure-instance': ['user-openai-instance'] }],
})

const textOf = (reply: OpenAI.ChatCompletion) => reply.choices[0]?.message.content
const calls = () => provider.ledger.map(({ host, key, path }) => ({ host, key, path }))

/** The error that a request is answered with. */
async function refusal(reply: Promise<unknown>) {
  const error = await reply.then(
    () => null,
    (reason: unknown) => reason,
  )
  expect(error).toMatchObject({ status: 400 })
  return error as { status: number; code: string; param: string; message: string }
}

describe.each(SDKS)('the seed by $name', ({ make }) => {
  const client = (gateway: Gateway) =>
    make({ baseURL: gateway.url, apiKey: gateway.masterKey, maxRetries: 0 })

  test('user_config: the azure deployment is called with its own key, version and address', async () => {
    const reply = await chat(client(plain), { model: 'user-azure-instance', user_config: userConfig() })
    expect(textOf(reply)).toBe('a short poem')
    const path = '/openai/deployments/chatgpt-v-2/chat/completions?api-version=2024-10-21'
    expect(calls()).toEqual([{ host: AZURE, key: 'user-azure-key', path }])
    expect(provider.ledger[0]?.headers['api-key']).toBe('user-azure-key')
    expect(provider.ledger[0]?.headers.authorization).toBeUndefined()
    expect(Object.keys(provider.ledger[0]?.body ?? {})).not.toContain('user_config')
  })

  test('user_config: with azure down, the openai fallback answers with its own key', async () => {
    provider.answer(({ host }) => (host === AZURE ? failure(500, 'down') : completion('from the fallback')))
    // A key of its own: what an earlier test did to this deployment's state is no part of this one.
    const config = userConfig()
    const azure = config.model_list[0]?.litellm_params
    if (azure) azure.api_key = `user-azure-key-${Math.random()}`
    const reply = await chat(client(plain), { model: 'user-azure-instance', user_config: config })
    expect(textOf(reply)).toBe('from the fallback')
    const hosts = provider.ledger.map(({ host, key }) => [host, key])
    expect(hosts).toEqual([
      ...Array.from({ length: 3 }, () => [AZURE, azure?.api_key]),
      [OPENAI, 'user-openai-key'],
    ])
    expect(provider.ledger.at(-1)).toMatchObject({ path: '/v1/chat/completions', model: 'gpt-3.5-turbo' })
  })

  test('user_config: a model that is a deployment’s litellm_params.model selects that deployment', async () => {
    const reply = await chat(client(plain), { model: 'gpt-3.5-turbo', user_config: userConfig() })
    expect(textOf(reply)).toBe('a short poem')
    expect(calls()).toEqual([{ host: OPENAI, key: 'user-openai-key', path: '/v1/chat/completions' }])
  })

  test('api_key and api_base of the client’s own reach that base with that key', async () => {
    const credentials = { api_key: 'my-bad-key', api_base: `https://${FIREWORKS_DEV}/v1` }
    const reply = await chat(client(plain), { model: 'gpt-3.5-turbo', ...credentials })
    expect(textOf(reply)).toBe('a short poem')
    expect(calls()).toEqual([{ host: FIREWORKS_DEV, key: 'my-bad-key', path: '/v1/chat/completions' }])
    expect(provider.ledger[0]?.body).toEqual({
      model: 'gpt-3.5-turbo',
      messages: [{ role: 'user', content: 'Say this is a test' }],
    })
  })

  test('the azure triple with a bare model name is an azure call', async () => {
    const reply = await chat(client(plain), {
      model: 'gpt-3.5-turbo',
      api_key: 'my-azure-key',
      api_base: `https://${AZURE}`,
      api_version: '2024-10-21',
    })
    expect(textOf(reply)).toBe('a short poem')
    const path = '/openai/deployments/gpt-3.5-turbo/chat/completions?api-version=2024-10-21'
    expect(calls()).toEqual([{ host: AZURE, key: 'my-azure-key', path }])
  })

  test('a bare api_key is used at the model’s own provider, and no key of the environment is', async () => {
    const reply = await chat(client(plain), { model: 'gpt-3.5-turbo', api_key: 'my-bad-key' })
    expect(textOf(reply)).toBe('a short poem')
    expect(calls()).toEqual([{ host: OPENAI, key: 'my-bad-key', path: '/v1/chat/completions' }])
  })

  test('a provider-specific parameter goes to the provider untouched', async () => {
    const reply = await chat(client(operated), { model: 'gpt-3.5-turbo', vertex_ai_location: 'us-east1' })
    expect(textOf(reply)).toBe('a short poem')
    expect(calls()).toEqual([{ host: OPENAI, key: 'operator-openai-key', path: '/v1/chat/completions' }])
    expect(provider.ledger[0]?.body).toEqual({
      model: 'gpt-3.5-turbo',
      messages: [{ role: 'user', content: 'Say this is a test' }],
      vertex_ai_location: 'us-east1',
    })
  })

  test('api_base opted in by name: the client’s base gets the client’s key', async () => {
    const credentials = { api_key: 'my-bad-key', api_base: `https://${FIREWORKS_DEV}/v1` }
    const reply = await chat(client(operated), { model: 'fireworks_ai/llama', ...credentials })
    expect(textOf(reply)).toBe('a short poem')
    expect(calls()).toEqual([{ host: FIREWORKS_DEV, key: 'my-bad-key', path: '/v1/chat/completions' }])
  })

  test('api_base opted in by name, without a key of the client’s own: 400, and the operator’s key stays here', async () => {
    const error = await refusal(
      chat(client(operated), { model: 'fireworks_ai/llama', api_base: `https://${FIREWORKS_DEV}/v1` }),
    )
    expect(error.param).toMatch(/api_key|api_base/)
    expect(provider.ledger).toEqual([])
  })

  test('api_base opted in by pattern: a base that matches is called', async () => {
    const credentials = { api_key: 'my-bad-key', api_base: `https://${FIREWORKS_DEV}/v1` }
    const reply = await chat(client(operated), { model: 'fireworks_ai/matched-llama', ...credentials })
    expect(textOf(reply)).toBe('a short poem')
    expect(calls()).toEqual([{ host: FIREWORKS_DEV, key: 'my-bad-key', path: '/v1/chat/completions' }])
  })

  test.each([
    ['the bypass: the pattern’s host is in the path', BYPASS],
    ['another host', `https://${EVIL}/v1`],
    ['the host in the user part', `https://litellm.direct.fireworks.ai@${EVIL}/v1`],
    ['the host in the query', `https://${EVIL}/?litellm.direct.fireworks.ai/v1`],
    ['the host in the fragment', `https://litellm.${EVIL}/#direct.fireworks.ai/v1`],
    ['more behind the end', `https://${FIREWORKS_DEV}/v1/../../v2`],
  ])('api_base opted in by pattern: %s is a 400 that names it', async (_what, api_base) => {
    const error = await refusal(
      chat(client(operated), { model: 'fireworks_ai/matched-llama', api_key: 'my-bad-key', api_base }),
    )
    expect(error.param).toBe('api_base')
    expect(provider.ledger).toEqual([])
  })

  test('a credential for a group that does not opt in is a 400 that names it', async () => {
    const error = await refusal(chat(client(operated), { model: 'gpt-3.5-turbo', api_key: 'my-bad-key' }))
    expect(error.param).toBe('api_key')
    const both = { api_key: 'my-bad-key', api_base: `https://${EVIL}/v1` }
    await refusal(chat(client(operated), { model: 'gpt-3.5-turbo', ...both }))
    expect(provider.ledger).toEqual([])
  })

  test('user_config beside an operator’s models uses nothing of the operator’s', async () => {
    const reply = await chat(client(operated), { model: 'gpt-3.5-turbo', user_config: userConfig() })
    expect(textOf(reply)).toBe('a short poem')
    expect(calls()).toEqual([{ host: OPENAI, key: 'user-openai-key', path: '/v1/chat/completions' }])
    expect(provider.ledger.some(({ key }) => OPERATOR_KEYS.includes(key ?? ''))).toBe(false)
  })

  test('user_config and api_key together are a 400, since one of them would be lost', async () => {
    await refusal(
      chat(client(plain), { model: 'user-azure-instance', api_key: 'k', user_config: userConfig() }),
    )
    expect(provider.ledger).toEqual([])
  })
})

test('a completion of another maker’s mock provider comes back as it was sent', async () => {
  const aimock = await startAimock('This is a test.')
  try {
    const [sdk] = SDKS
    const client = sdk.make({ baseURL: plain.url, apiKey: plain.masterKey })
    const config = ownConfig({ url: aimock.url, key: 'user-key', model: 'openai/gpt-4o' })
    const reply = await chat(client, { model: 'mine', user_config: config })
    expect(textOf(reply)).toBe('This is a test.')
    expect(reply.object).toBe('chat.completion')
    expect(aimock.requests().map(({ path }) => path)).toEqual(['/v1/chat/completions'])
  } finally {
    await aimock.close()
  }
})
