import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { startGateway, type Gateway } from '../support/gateway.ts'
import { completion, startProvider, type TestProvider } from '../support/provider.ts'
import { freePort } from '../support/redis-process.ts'
import { ask, ownConfig } from '../support/requests.ts'

let provider: TestProvider
let elsewhere: TestProvider
let gateway: Gateway
let apiPort: number

beforeAll(async () => {
  provider = await startProvider()
  elsewhere = await startProvider()
  apiPort = await freePort()
  gateway = await startGateway({
    env: { PORT: String(apiPort), GATEWAY_ALLOWED_CIDRS: '127.0.0.1/32', OPERATOR_KEY: 'operator-key' },
    config: `
model_list:
  - model_name: "house"
    litellm_params:
      model: "openai/house"
      api_key: os.environ/OPERATOR_KEY
      api_base: "${provider.url}/v1"
      configurable_clientside_auth_params: ["api_base", "api_key"]
`,
  })
})

afterAll(async () => {
  await gateway?.stop()
  await Promise.all([provider?.close(), elsewhere?.close()])
})

beforeEach(() => {
  provider.ledger.length = 0
  elsewhere.ledger.length = 0
  provider.answer(() => completion('ok'))
})

const sync = (body: object) => gateway.call('POST', '/v1/chat/completions', { body })
const asking = (url: string) => ask(ownConfig({ url, key: 'sk-own' }, { num_retries: 0 }))

test('the address that is opened is reached, so that the refusals below mean something', async () => {
  expect((await sync(asking(provider.url))).status).toBe(200)
})

describe('a client’s base is refused with its path', () => {
  test.each([
    'http://127.0.0.2:8080',
    'http://10.0.0.1',
    'https://10.0.0.1',
    'https://192.168.1.1',
    'https://169.254.169.254',
    'https://168.63.129.16',
    'https://[::1]',
    'https://[::ffff:10.0.0.1]',
    'https://[fd00::1]',
    'https://2130706434',
    'https://0x7f.0.0.2',
    'https://0.0.0.0',
    'ftp://example.com',
    'file:///etc/passwd',
    'https://user:word@example.com',
  ])('%s', async (url) => {
    const answer = await sync(asking(url))
    expect(answer.status, answer.text).toBe(400)
    expect(answer.json).toMatchObject({
      error: { type: 'invalid_request_error', param: 'user_config.model_list[0].litellm_params.api_base' },
    })
  })

  test('the gateway’s own address and its Redis, though their network is open', async () => {
    for (const port of [apiPort, Number(/:(\d+)/.exec(gateway.redisUrl)?.[1])]) {
      const answer = await sync(asking(`http://127.0.0.1:${port}`))
      expect(answer.status, `${port}: ${answer.text}`).toBe(400)
    }
  })
})

test('with nothing opened, neither plain http nor a name for this machine is taken', async () => {
  const closed = await startGateway({ env: { GATEWAY_ALLOWED_CIDRS: '' } })
  try {
    const { port } = new URL(provider.url)
    for (const url of ['http://example.com', `https://localhost:${port}`, `http://127.0.0.1:${port}`]) {
      const answer = await closed.call('POST', '/v1/chat/completions', { body: asking(url) })
      expect(answer.status, `${url}: ${answer.text}`).toBe(400)
    }
    expect(provider.ledger).toEqual([])
  } finally {
    await closed.stop()
  }
})

test.each([301, 302, 307, 308])(
  'a %i of a provider is not followed: the key goes nowhere else',
  async (status) => {
    provider.answer(() => ({
      kind: 'reply',
      status,
      headers: { location: `${elsewhere.url}/v1/chat/completions` },
      body: '',
    }))
    const answer = await sync(asking(provider.url))
    expect(answer.status).toBeGreaterThanOrEqual(400)
    expect(provider.ledger).toHaveLength(1)
    expect(elsewhere.ledger).toEqual([])
  },
)

describe('an operator’s secret', () => {
  test('never goes to a base that a client gave', async () => {
    const messages = [{ role: 'user', content: 'hello' }]
    const bare = await sync({ model: 'house', messages, api_base: `${elsewhere.url}/v1` })
    expect(bare.status).toBe(400)
    for (const key of ['', ' ', null]) {
      const answer = await sync({ model: 'house', messages, api_base: `${elsewhere.url}/v1`, api_key: key })
      expect(answer.status, JSON.stringify(key)).toBe(400)
    }
    const own = await sync({ model: 'house', messages, api_base: `${elsewhere.url}/v1`, api_key: 'sk-own' })
    expect(own.status, own.text).toBe(200)
    expect(elsewhere.ledger.map(({ key }) => key)).toEqual(['sk-own'])
    expect(JSON.stringify(elsewhere.ledger)).not.toContain('operator-key')
  })

  test.each(['os.environ/OPERATOR_KEY', 'oidc/google/x', '/etc/passwd', 'OS.ENVIRON/OPERATOR_KEY'])(
    'is not read for a client who writes %s as a key',
    async (key) => {
      const answer = await sync(ask(ownConfig({ url: elsewhere.url, key })))
      // A refusal, or taken literally: in no case what the server would find behind it.
      if (answer.status !== 400) expect(elsewhere.ledger.map((entry) => entry.key)).toEqual([key])
      expect(JSON.stringify(elsewhere.ledger)).not.toContain('operator-key')
      if (/^os\.environ|^oidc/.test(key)) expect(answer.status).toBe(400)
    },
  )
})

test('a network that is open to calls can not be read by naming a file in it', async () => {
  const file = { file_id: `${elsewhere.url}/v1/kv/secret?raw`, format: 'text/plain' }
  const answer = await sync({
    model: 'gemini/gemini-2.5-flash',
    api_key: 'own-key',
    api_base: provider.url,
    messages: [{ role: 'user', content: [{ type: 'file', file }] }],
  })
  expect(answer.json).toMatchObject({ error: { code: 'invalid_image_url', param: 'messages[0].content[0]' } })
  expect(answer.text).not.toContain('secret')
  expect([elsewhere.ledger, provider.ledger]).toEqual([[], []])
})
