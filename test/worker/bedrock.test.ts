import { expect, test } from 'vitest'
import { signatureOf } from '../support/amazon.ts'
import {
  BEDROCK_MODEL as MODEL,
  BEDROCK_REGION as REGION,
  bedrockStage,
  SCHEMA,
  TOOL,
  user,
} from './family-stage.ts'
import { PIXEL } from './model-calls.ts'

const { upstream, ask } = bedrockStage()
const KEYS = { aws_access_key_id: 'AKIATESTACCESSKEY1', aws_secret_access_key: 'test/secret+access/key' }

test('a request is put into its words whole, and nothing of it is left out', async () => {
  const outcome = await ask({
    messages: [
      {
        role: 'system',
        content: [{ type: 'text', text: 'Be brief.', cache_control: { type: 'ephemeral' } }],
      },
      user([
        { type: 'text', text: 'What is this?' },
        { type: 'image_url', image_url: { url: `data:image/png;base64,${PIXEL}` } },
        { type: 'file', file: { file_data: 'data:application/pdf;base64,JVBERi0xLjQK', filename: 'a.pdf' } },
      ]),
      {
        role: 'assistant',
        content: 'Let me see.',
        thinking_blocks: [{ type: 'thinking', thinking: 'Hm.', signature: 'sig-1' }],
        tool_calls: [
          { id: 'c1', type: 'function', function: { name: 'get_weather', arguments: '{"city":"Rome"}' } },
        ],
      },
      { role: 'tool', tool_call_id: 'c1', content: 'sunny' },
    ],
    max_tokens: 300,
    temperature: 0.2,
    top_k: 3,
    stop: 'END',
    tools: [TOOL],
    tool_choice: { type: 'function', function: { name: 'get_weather' } },
    guardrailConfig: { guardrailIdentifier: 'g', guardrailVersion: '1' },
  })
  expect(outcome).toMatchObject({ kind: 'reply' })
  expect(outcome).not.toHaveProperty('reply.warnings')
  expect(upstream.ledger[0]?.path).toBe(`/model/${encodeURIComponent(MODEL)}/converse`)
  expect(upstream.ledger[0]?.body).toEqual({
    system: [{ text: 'Be brief.' }, { cachePoint: { type: 'default' } }],
    messages: [
      {
        role: 'user',
        content: [
          { text: 'What is this?' },
          { image: { format: 'png', source: { bytes: PIXEL } } },
          { document: { format: 'pdf', name: 'a', source: { bytes: 'JVBERi0xLjQK' } } },
        ],
      },
      {
        role: 'assistant',
        content: [
          { reasoningContent: { reasoningText: { text: 'Hm.', signature: 'sig-1' } } },
          { text: 'Let me see.' },
          { toolUse: { toolUseId: 'c1', name: 'get_weather', input: { city: 'Rome' } } },
        ],
      },
      { role: 'user', content: [{ toolResult: { toolUseId: 'c1', content: [{ text: 'sunny' }] } }] },
    ],
    additionalModelRequestFields: { top_k: 3 },
    additionalModelResponseFieldPaths: ['/delta/stop_sequence'],
    inferenceConfig: { maxTokens: 300, temperature: 0.2, stopSequences: ['END'] },
    guardrailConfig: { guardrailIdentifier: 'g', guardrailVersion: '1' },
    toolConfig: {
      tools: [{ toolSpec: { name: 'get_weather', description: 'Weather', inputSchema: { json: SCHEMA } } }],
      toolChoice: { tool: { name: 'get_weather' } },
    },
  })
})

const JSON_FORMAT = { type: 'json_schema', json_schema: { name: 'a', schema: SCHEMA } }

const NOVA = 'us.amazon.nova-pro-v1:0'
const THINKING = (budget_tokens: number) => ({ thinking: { type: 'enabled', budget_tokens } })

test.each([
  [
    MODEL,
    { reasoning_effort: 'low', max_tokens: 5_000 },
    { inferenceConfig: { maxTokens: 5_000 }, additionalModelRequestFields: THINKING(1_024) },
  ],
  [
    MODEL,
    { ...THINKING(2_000), max_tokens: 5_000 },
    { inferenceConfig: { maxTokens: 5_000 }, additionalModelRequestFields: THINKING(2_000) },
  ],
  [
    MODEL,
    { response_format: JSON_FORMAT },
    {
      additionalModelRequestFields: {
        output_config: {
          format: { type: 'json_schema', schema: { ...SCHEMA, additionalProperties: false } },
        },
      },
    },
  ],
  [
    MODEL,
    { parallel_tool_calls: false, tools: [TOOL] },
    { additionalModelRequestFields: { tool_choice: { type: 'auto', disable_parallel_tool_use: true } } },
  ],
  [
    NOVA,
    { response_format: JSON_FORMAT, top_k: 4 },
    {
      additionalModelRequestFields: { inferenceConfig: { topK: 4 } },
      toolConfig: {
        toolChoice: { any: {} },
        tools: [{ toolSpec: { name: 'json', inputSchema: { json: SCHEMA } } }],
      },
    },
  ],
])('limits, thinking, schemas and serial calls of %s with %j', async (model, fields, sent) => {
  const outcome = await ask({ messages: [user('Hi')], ...fields }, { model })
  expect(outcome).not.toHaveProperty('reply.warnings')
  expect(upstream.ledger[0]?.body).toMatchObject(sent)
})

test('what it has no word for is named', async () => {
  const fields = {
    parallel_tool_calls: false,
    reasoning_effort: 'low',
    user: 'canary',
    seed: 1,
    response_format: { type: 'json_object' },
  }
  const outcome = await ask({ messages: [user('Hi')], ...fields }, { model: NOVA })
  const named = outcome.kind === 'reply' ? (outcome.reply.warnings ?? []) : []
  expect(new Set(named.map((each) => each.split(':')[0]))).toEqual(new Set(Object.keys(fields)))
  expect(named.join(' ')).not.toContain('canary')
})

test('requests are signed with the keys of the bundle, its session token and extra headers among what is signed', async () => {
  const auth = { ...KEYS, ...REGION, aws_session_token: 'test-session-token' }
  const headers = { 'X-Title': 'mine', 'X-Amz-Security-Token': 'canary', Authorization: 'canary' }
  expect(await ask({ messages: [user('Grüße')] }, { api_key: null, auth, headers })).toMatchObject({
    kind: 'reply',
  })
  const [sent] = upstream.ledger
  if (!sent) throw new Error('Nothing was sent.')
  const { expected, signed, scope } = signatureOf(sent, KEYS.aws_secret_access_key)
  expect(sent.headers['authorization']).toContain(`Signature=${expected}`)
  expect(sent.headers['authorization']).toContain(`Credential=${KEYS.aws_access_key_id}/`)
  expect(scope).toMatch(/^\d{8}\/eu-west-1\/bedrock\/aws4_request$/)
  expect(signed).toEqual(expect.arrayContaining(['host', 'x-amz-date', 'x-amz-security-token', 'x-title']))
  expect(sent.headers['x-amz-security-token']).toBe('test-session-token')
  expect(JSON.stringify(upstream.ledger)).not.toMatch(/canary|secret\+access/)
})

test('a bearer key is sent as such, and nothing is signed', async () => {
  const auth = { ...KEYS, ...REGION }
  const headers = { Authorization: 'canary', 'X-Title': 'mine' }
  await ask({ messages: [user('Hi')] }, { auth, headers })
  expect(upstream.ledger[0]?.headers).toMatchObject({
    authorization: 'Bearer bedrock-api-key-test',
    'x-title': 'mine',
  })
  expect(upstream.ledger[0]?.headers).not.toHaveProperty('x-amz-date')
  expect(JSON.stringify(upstream.ledger)).not.toMatch(/canary|AKIATEST/)
})

test('keys without a session token are sent without one, whatever the environment holds', async () => {
  await ask({ messages: [user('Hi')] }, { api_key: null, auth: { ...KEYS, ...REGION } })
  expect(upstream.ledger[0]?.headers).not.toHaveProperty('x-amz-security-token')
  expect(upstream.ledger[0]?.headers['authorization']).toMatch(
    /^AWS4-HMAC-SHA256 Credential=AKIATESTACCESSKEY1\//,
  )
  expect(JSON.stringify(upstream.ledger)).not.toContain('canary')
})

test.each([
  [{ api_key: null }],
  [{ api_key: '' }],
  [{ api_key: null, auth: undefined }],
  [{ api_key: null, auth: { ...REGION, aws_access_key_id: KEYS.aws_access_key_id } }],
  [{ api_key: null, auth: { ...REGION, aws_secret_access_key: 'x' } }],
  [{ auth: {} }],
  [{ api_base: null, auth: { aws_region_name: 'evil.example/' } }],
  [{ api_base: null, auth: { aws_region_name: 'x@evil.example#' } }],
])('without credentials of its own, or at a place that is none, nothing is sent: %#', async (changes) => {
  const outcome = await ask({ messages: [user('Hi')] }, changes)
  expect(outcome).toMatchObject({ kind: 'error', error: { class: 'bad_request', isPossiblyBilled: false } })
  expect(JSON.stringify(outcome)).not.toContain('canary')
  expect(upstream.ledger).toEqual([])
})
