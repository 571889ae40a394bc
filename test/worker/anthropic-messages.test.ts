import { expect, test } from 'vitest'
import type { ProviderCall } from '../../worker/providers/provider.ts'
import { anthropicStage } from './family-stage.ts'
import { createKeepingSink, SSE, sse } from './model-calls.ts'

const stage = anthropicStage(() => ({ kind: 'reply', status: 200, body: ANSWER }))
const { upstream } = stage

// https://docs.anthropic.com/en/api/messages, with odd spacing and a field of the future.
const ANSWER =
  '{ "id":"msg_1","type":"message", "role":"assistant","model":"claude-x","content":[{"type":"text","text":"Hi"}],\n "stop_reason":"end_turn","future":1.0,"usage":{"input_tokens":3,"cache_read_input_tokens":4,"output_tokens":5} }'
const BODY = {
  model: 'group',
  max_tokens: 5,
  messages: [{ role: 'user', content: [{ type: 'text', text: 'Hi', cache_control: { type: 'ephemeral' } }] }],
  future_field: { deep: [null] },
}
const ask = (changes = {}, rest: Partial<ProviderCall> = {}) =>
  stage.ask(BODY, changes, { endpoint: 'messages', ...rest })

test('its own request goes out as it came but for the model, and its answer comes back byte for byte', async () => {
  const outcome = await ask()
  expect(upstream.ledger[0]).toMatchObject({ path: '/v1/messages', method: 'POST' })
  expect(upstream.ledger[0]?.body).toEqual({ ...BODY, model: 'claude-sonnet-4-5' })
  expect(upstream.ledger[0]?.headers).toMatchObject({
    'anthropic-version': '2023-06-01',
    'x-api-key': 'sk-ant-test-key',
  })
  expect(outcome).toMatchObject({
    reply: {
      body: Buffer.from(ANSWER),
      usage: { input_tokens: 7, output_tokens: 5, total_tokens: 12, cached_input_tokens: 4 },
    },
  })
})

test('betas go as the header that they came in, beside the deployment’s own, and not in the body', async () => {
  const body = { ...BODY, anthropic_beta: ['context-1m-2025-08-07', 'files-api-2025-04-14'] }
  await stage.ask(body, { headers: { 'Anthropic-Beta': 'own-beta' } }, { endpoint: 'messages' })
  expect(upstream.ledger.at(-1)?.headers['anthropic-beta']).toBe(
    'own-beta,context-1m-2025-08-07,files-api-2025-04-14',
  )
  expect(upstream.ledger.at(-1)?.body).not.toHaveProperty('anthropic_beta')
})

test('its stream passes byte for byte, whole events at a time, and is put together', async () => {
  const events = sse([
    { type: 'message_start', message: { ...JSON.parse(ANSWER), content: [], stop_reason: null } },
    { type: 'ping' },
    { type: 'content_block_start', index: 0, content_block: { type: 'text', text: '' } },
    { type: 'content_block_delta', index: 0, delta: { type: 'text_delta', text: 'Hi' } },
    { type: 'content_block_stop', index: 0 },
    { type: 'message_delta', delta: { stop_reason: 'end_turn' }, usage: { output_tokens: 9 } },
    { type: 'message_stop' },
  ])
  upstream.answer(() => ({ kind: 'reply', status: 200, headers: SSE, body: events }))
  const kept = createKeepingSink()
  const outcome = await ask({}, { sink: kept.sink })
  expect(kept.bytes().toString()).toBe(events)
  expect(outcome).toMatchObject({ reply: { usage: { input_tokens: 7, output_tokens: 9 } } })
  const whole = outcome.kind === 'reply' ? JSON.parse(outcome.reply.body.toString()) : null
  expect(whole).toMatchObject({
    id: 'msg_1',
    content: [{ type: 'text', text: 'Hi' }],
    stop_reason: 'end_turn',
  })
})

test.each(['', '/', '/v1', '/v1/', '/v1/messages'])('a base may end in %j', async (suffix) => {
  await ask({ api_base: upstream.url + suffix })
  await ask({ api_base: upstream.url + suffix }, { endpoint: 'chat' })
  expect(upstream.ledger.map(({ path }) => path)).toEqual(['/v1/messages', '/v1/messages'])
})

test.each(['chat', 'messages'] as const)(
  'extra headers go along, and none replaces or doubles the credential: %s',
  async (endpoint) => {
    const headers = {
      'Anthropic-Beta': 'context-1m-2025-08-07',
      'Anthropic-Version': '2099-01-01',
      'X-Title': 'mine',
      'X-Api-Key': 'canary',
      Authorization: 'Bearer canary',
    }
    await ask({ headers }, { endpoint })
    await ask({ headers, api_key: 'sk-ant-oat01-token' }, { endpoint })
    const [byKey, byToken] = upstream.ledger
    expect(byKey?.headers).toMatchObject({
      'anthropic-beta': 'context-1m-2025-08-07',
      'anthropic-version': '2099-01-01',
      'x-title': 'mine',
      'x-api-key': 'sk-ant-test-key',
    })
    expect(byToken?.headers).toMatchObject({ authorization: 'Bearer sk-ant-oat01-token' })
    expect(byToken?.headers).not.toHaveProperty('x-api-key')
    expect(JSON.stringify(upstream.ledger)).not.toContain('canary')
  },
)

test.each(['chat', 'messages'] as const)(
  'without a key nothing is sent, whatever the environment holds: %s',
  async (endpoint) => {
    for (const api_key of [null, '']) {
      const outcome = await ask({ api_key }, { endpoint })
      expect(outcome).toMatchObject({ kind: 'error', error: { class: 'bad_request' } })
      expect(JSON.stringify(outcome)).not.toContain('canary')
    }
    await ask({ api_base: null }, { endpoint })
    expect(upstream.ledger).toEqual([])
  },
)
