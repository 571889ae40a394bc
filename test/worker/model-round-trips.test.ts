import { generateKeyPairSync } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { LLMock } from '@copilotkit/aimock'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { createEgressPolicy } from '../../shared/egress.ts'
import type { CredentialBundle } from '../../shared/schemas/plan.ts'
import { createOutbound, type Outbound } from '../../worker/outbound.ts'
import { createAnthropic } from '../../worker/providers/anthropic.ts'
import { createBedrock } from '../../worker/providers/bedrock.ts'
import { createGemini } from '../../worker/providers/gemini.ts'
import type { Provider } from '../../worker/providers/provider.ts'
import { createVertex } from '../../worker/providers/vertex.ts'
import { createCertificates } from '../support/certificates.ts'
import { startProvider, type TestProvider } from '../support/provider.ts'
import { completionOf, createKeepingSink, PIXEL, poisonEnvironment } from './model-calls.ts'
import { callOf } from './provider-calls.ts'

// aimock plays each of them in its own wire form, on one port; Claude on Vertex AI is none of them.
const LOGIN = 'oauth2.googleapis.com'
const folder = mkdtempSync(join(tmpdir(), 'round-trips-'))
let mock: LLMock
let login: TestProvider
let outbound: Outbound
beforeAll(async () => {
  mock = new LLMock({ port: 0, host: '127.0.0.1', journalMaxEntries: 0 })
  await mock.start()
  const { ca, certificate, key } = createCertificates([LOGIN])
  const testCaFile = join(folder, 'ca.pem')
  writeFileSync(testCaFile, ca)
  login = await startProvider({ tls: { certificate, key } })
  login.answer(() => ({ kind: 'reply', status: 200, body: { access_token: 'ya29.test', expires_in: 3_600 } }))
  const policy = createEgressPolicy({ allowedCidrs: ['127.0.0.1/32'] })
  outbound = createOutbound({ policy, testResolve: [`${LOGIN}=127.0.0.1:${login.port}`], testCaFile })
})
beforeEach(() => {
  mock.reset()
  poisonEnvironment()
})
afterEach(() => void vi.unstubAllEnvs())
afterAll(async () => {
  await outbound.close()
  await mock.stop()
  await login.close()
  rmSync(folder, { recursive: true })
})

const { privateKey } = generateKeyPairSync('rsa', {
  modulusLength: 2048,
  privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
  publicKeyEncoding: { type: 'spki', format: 'pem' },
})
const ACCOUNT = {
  type: 'service_account',
  client_email: 'robot@p-1.iam.gserviceaccount.com',
  private_key: privateKey,
}
const VERTEX_AUTH = {
  vertex_credentials: JSON.stringify(ACCOUNT),
  vertex_project: 'p-1',
  vertex_location: 'us-central1',
}
const AWS_AUTH = {
  aws_access_key_id: 'AKIATESTACCESSKEY1',
  aws_secret_access_key: 'test-secret',
  aws_region_name: 'us-east-1',
}

type Family = { create: (outbound: Outbound) => Provider; bundle: Partial<CredentialBundle> }
const FAMILIES: [string, Family][] = [
  ['Anthropic', { create: createAnthropic, bundle: { provider: 'anthropic', model: 'claude-sonnet-4-5' } }],
  ['Gemini', { create: createGemini, bundle: { provider: 'gemini', model: 'gemini-2.5-flash' } }],
  [
    'Gemini on Vertex AI',
    {
      create: createVertex,
      bundle: { provider: 'vertex_ai', model: 'gemini-2.5-pro', api_key: null, auth: VERTEX_AUTH },
    },
  ],
  [
    'Bedrock, signed',
    {
      create: createBedrock,
      bundle: {
        provider: 'bedrock',
        model: 'anthropic.claude-sonnet-4-5-20250929-v1:0',
        api_key: null,
        auth: AWS_AUTH,
      },
    },
  ],
  [
    'Bedrock, by key',
    {
      create: createBedrock,
      bundle: { provider: 'bedrock', model: 'amazon.nova-pro-v1:0', auth: { aws_region_name: 'us-east-1' } },
    },
  ],
]

const USER = { role: 'user', content: 'What is the weather?' }
const SCHEMA = { type: 'object', properties: { city: { type: 'string' } } }
const TOOLS = [
  { type: 'function', function: { name: 'get_weather', description: 'Weather', parameters: SCHEMA } },
]
const CALLS = ['Paris', 'Rome'].map((city) => ({ name: 'get_weather', arguments: JSON.stringify({ city }) }))

/** The last request as aimock has understood it. */
const understood = () => mock.getLastRequest()?.body

describe.each(FAMILIES)('%s', (_name, { create, bundle }) => {
  /** Asked once in one piece and once as a stream, which must come to the same. */
  async function ask(fields: Record<string, unknown>) {
    const provider = create(outbound)
    const body = { model: 'group', messages: [USER], max_tokens: 100, ...fields }
    const whole = await provider.call(callOf({ ...bundle, api_base: mock.url }, body))
    const kept = createKeepingSink()
    const streaming = { ...body, stream: true, stream_options: { include_usage: true } }
    const streamed = await provider.call(
      callOf({ ...bundle, api_base: mock.url }, streaming, { sink: kept.sink }),
    )
    return { whole, streamed, kept }
  }

  /** The one message of both. */
  async function answerTo(fields: Record<string, unknown>) {
    const { whole, streamed, kept } = await ask(fields)
    const choices = [whole, streamed].map((outcome) => {
      const { choices: list } = completionOf(outcome)
      return Array.isArray(list) ? list[0] : null
    })
    expect(kept.events().at(-1)).toEqual({ data: '[DONE]' })
    return { choices, whole, streamed, kept }
  }

  test('text', async () => {
    mock.on({ predicate: () => true }, { content: 'Sunny, and warm.' })
    const { choices, kept, whole } = await answerTo({})
    for (const choice of choices) {
      expect(choice).toMatchObject({ message: { content: 'Sunny, and warm.' }, finish_reason: 'stop' })
    }
    const deltas = kept.chunks().flatMap(({ choices: list }) => (Array.isArray(list) ? list : []))
    expect(deltas.map(({ delta }) => delta.content ?? '').join('')).toBe('Sunny, and warm.')
    expect(whole).toMatchObject({ reply: { usage: { input_tokens: expect.any(Number) } } })
  })

  test('calls at once, their results, and the answer', async () => {
    mock.on({ hasToolResult: false }, { toolCalls: CALLS })
    const { choices } = await answerTo({ tools: TOOLS, tool_choice: 'required' })
    for (const choice of choices) {
      expect(choice).toMatchObject({
        message: { tool_calls: CALLS.map((called) => ({ type: 'function', function: called })) },
        finish_reason: 'tool_calls',
      })
    }
    const [first] = choices
    mock.on({ hasToolResult: true }, { content: 'Sunny in both.' })
    const results = first.message.tool_calls.map(({ id }: { id: string }) => ({
      role: 'tool',
      tool_call_id: id,
      content: 'sunny',
    }))
    const messages = [USER, first.message, ...results]
    for (const choice of (await answerTo({ tools: TOOLS, messages })).choices) {
      expect(choice).toMatchObject({ message: { content: 'Sunny in both.' }, finish_reason: 'stop' })
    }
    const called = { function: { name: 'get_weather' } }
    const sunny = { role: 'tool', content: expect.stringContaining('sunny') }
    expect(understood()).toMatchObject({
      messages: [{ role: 'user' }, { role: 'assistant', tool_calls: [called, called] }, sunny, sunny],
    })
  })

  test('a forced tool, an image, a stop, a limit and a system message arrive', async () => {
    mock.on({ predicate: () => true }, { content: 'Hel', finishReason: 'length' })
    const image = { type: 'image_url', image_url: { url: `data:image/png;base64,${PIXEL}` } }
    const { choices } = await answerTo({
      messages: [
        { role: 'system', content: 'Be brief.' },
        { role: 'user', content: [{ type: 'text', text: 'What is this?' }, image] },
      ],
      tools: TOOLS,
      tool_choice: { type: 'function', function: { name: 'get_weather' } },
      stop: ['END'],
      max_tokens: 3,
    })
    for (const choice of choices)
      expect(choice).toMatchObject({ message: { content: 'Hel' }, finish_reason: 'length' })
    expect(understood()).toMatchObject({
      messages: [
        { role: 'system', content: 'Be brief.' },
        { role: 'user', content: 'What is this?' },
      ],
      tools: [{ function: { name: 'get_weather' } }],
      max_tokens: 3,
      stream: true,
    })
  })

  test('a JSON schema', async () => {
    mock.on({ predicate: () => true }, { content: '{"city":"Rome"}' })
    const response_format = { type: 'json_schema', json_schema: { name: 'place', schema: SCHEMA } }
    for (const choice of (await answerTo({ response_format })).choices) {
      expect(choice).toMatchObject({ message: { content: '{"city":"Rome"}' } })
    }
  })

  test('reasoning', async () => {
    mock.on({ predicate: () => true }, { content: 'Rome.', reasoning: 'Hm, let me think.' })
    for (const choice of (await answerTo({ reasoning_effort: 'low' })).choices) {
      expect(choice).toMatchObject({ message: { content: 'Rome.', reasoning_content: 'Hm, let me think.' } })
    }
  })

  test('a rate limit with its wait, and a server error', async () => {
    for (const [status, error] of [
      [429, { class: 'rate_limit', retryAfterMs: 7_000, isRetryable: true }],
      [500, { class: 'internal_server', isRetryable: true }],
    ] as const) {
      mock.reset()
      mock.on({ predicate: () => true }, { error: { message: 'No.', type: 'x' }, status, retryAfter: 7 })
      const { whole, streamed, kept } = await ask({})
      for (const outcome of [whole, streamed])
        expect(outcome).toMatchObject({ kind: 'error', error: { status, ...error } })
      expect(kept.bytes()).toHaveLength(0)
    }
  })

  test('an answer that is none, and a stream that is cut', async () => {
    mock.on({ predicate: () => true }, { content: 'Hello' }, { chaos: { malformedRate: 1 } })
    const { whole, streamed } = await ask({})
    for (const outcome of [whole, streamed])
      expect(outcome).toMatchObject({ kind: 'error', error: { isRetryable: true } })
    mock.reset()
    mock.on(
      { predicate: () => true },
      { content: 'A long answer that is cut.' },
      { chunkSize: 4, truncateAfterChunks: 5 },
    )
    const cut = await ask({})
    expect(cut.streamed).toMatchObject({
      kind: 'error',
      error: { isRetryable: true, isPossiblyBilled: true },
    })
    expect(cut.kept.events().map(({ data }) => data)).not.toContain('[DONE]')
  })
})
