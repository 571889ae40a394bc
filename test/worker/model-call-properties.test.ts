import fc from 'fast-check'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import type { Outbound } from '../../worker/outbound.ts'
import { createAnthropic } from '../../worker/providers/anthropic.ts'
import { createBedrock } from '../../worker/providers/bedrock.ts'
import { createGemini } from '../../worker/providers/gemini.ts'
import { startProvider, type TestProvider } from '../support/provider.ts'
import { createKeepingSink, PIXEL, SSE } from './model-calls.ts'
import { callOf, createLocalOutbound } from './provider-calls.ts'

let upstream: TestProvider
let outbound: Outbound
beforeAll(async () => {
  upstream = await startProvider()
  outbound = createLocalOutbound()
})
beforeEach(() => void (upstream.ledger.length = 0))
afterAll(async () => {
  await outbound.close()
  await upstream.close()
})

/** Anything that stands in JSON; its texts are known again by `canary`. */
const odd = fc.oneof(
  fc.constantFrom(null, true, 0, -1, 1.5, '', 'canary', [], {}, ['canary'], { type: 'canary' }),
  fc.jsonValue({ maxDepth: 2 }),
)
/** Mostly as it should be: a request with one odd thing in it goes further than one that is all odd. */
const rare = <T>(usual: fc.Arbitrary<T>) =>
  fc.oneof({ weight: 60, arbitrary: usual }, { weight: 1, arbitrary: odd })
const record = (
  fields: Record<string, fc.Arbitrary<unknown>>,
  requiredKeys: string[] = Object.keys(fields),
) =>
  fc.record(Object.fromEntries(Object.entries(fields).map(([name, usual]) => [name, rare(usual)])), {
    requiredKeys,
  })

const part = fc.oneof(
  record({ type: fc.constant('text'), text: fc.string(), cache_control: fc.constant({ type: 'ephemeral' }) }),
  record({
    type: fc.constant('image_url'),
    image_url: record({
      url: fc.constantFrom(`data:image/png;base64,${PIXEL}`, 'data:,x', 'https://10.0.0.1/canary'),
    }),
  }),
  record({
    type: fc.constant('input_audio'),
    input_audio: record({ data: fc.constant('AAAA'), format: fc.constant('mp3') }),
  }),
  record({
    type: fc.constant('file'),
    file: record({ file_data: fc.constant('JVBERi0='), filename: fc.string() }),
  }),
)
const content = fc.oneof(fc.string(), fc.array(part, { maxLength: 3 }))
const texts = fc.oneof(
  fc.string(),
  fc.array(record({ type: fc.constant('text'), text: fc.string() }), { maxLength: 2 }),
)
const called = record({ name: fc.constantFrom('f', 'g'), arguments: fc.constantFrom('{}', '{"a":1}', '') })
const call = (id: string) => record({ id: fc.constant(id), function: called })
const thoughts = fc.array(record({ thinking: fc.string(), signature: fc.string(), data: fc.string() }, []), {
  maxLength: 2,
})
const turns = [
  [record({ role: fc.constantFrom('system', 'developer'), content: texts })],
  [record({ role: fc.constant('user'), content, name: fc.string() }, ['role', 'content'])],
  [
    record(
      { role: fc.constant('assistant'), content: texts, refusal: fc.string(), thinking_blocks: thoughts },
      ['role'],
    ),
  ],
  [
    record({ role: fc.constant('assistant'), tool_calls: fc.tuple(call('a'), call('b')) }),
    record({ role: fc.constant('tool'), tool_call_id: fc.constant('b'), content }),
    record({ role: fc.constant('tool'), tool_call_id: fc.constant('a'), content: texts }),
  ],
  [
    record({ role: fc.constant('assistant'), function_call: called }),
    record({ role: fc.constant('function'), name: fc.constant('f'), content: texts }),
  ],
].map((turn) => fc.tuple(...turn))
const messages = fc.array(fc.oneof(...turns), { minLength: 1, maxLength: 4 }).map((list) => list.flat())
const parameters = fc.constantFrom({}, { type: 'object', properties: { a: { type: 'string' } } })
const named = { name: fc.constantFrom('f', 'g'), description: fc.string(), parameters, strict: fc.boolean() }
const tool = record({ type: fc.constant('function'), function: record(named, ['name']) })
const budget = { type: fc.constantFrom('enabled', 'adaptive', 'disabled'), budget_tokens: fc.integer() }
const body = record(
  {
    messages,
    tools: fc.array(tool, { maxLength: 2 }),
    functions: fc.array(record(named, ['name']), { maxLength: 1 }),
    tool_choice: fc.constantFrom('auto', 'none', 'required', { type: 'function', function: { name: 'f' } }),
    response_format: fc.constantFrom(
      { type: 'json_object' },
      { type: 'json_schema', json_schema: { name: 'x', schema: {} } },
    ),
    stop: fc.array(fc.string()),
    temperature: fc.double({ noNaN: true }),
    max_tokens: fc.integer(),
    reasoning_effort: fc.constantFrom('none', 'low', 'high'),
    thinking: record(budget, ['type']),
    cache_control: fc.constant({ type: 'ephemeral' }),
    safety_settings: fc.constant([]),
    metadata: fc.constant({ user_id: 'u' }),
    modalities: fc.constant(['text', 'image']),
    additionalModelRequestFields: odd,
    guardrailConfig: odd,
    output_config: fc.constant({ effort: 'low' }),
    user: fc.string(),
    n: odd,
  },
  ['messages'],
)

const FAMILIES = [
  [createAnthropic, { provider: 'anthropic', model: 'claude-sonnet-4-5' }],
  [createGemini, { provider: 'gemini', model: 'gemini-2.5-flash' }],
  [
    createBedrock,
    { provider: 'bedrock', model: 'amazon.nova-pro-v1:0', auth: { aws_region_name: 'us-east-1' } },
  ],
] as const

test.each(FAMILIES)(
  'however odd a request, it is sent or refused as such; it is never a fault of ours: %#',
  async (create, bundle) => {
    upstream.answer(() => ({ kind: 'reply', status: 418, body: {} }))
    await fc.assert(
      fc.asyncProperty(body, fc.boolean(), async (fields, isStreamed) => {
        const sink = isStreamed ? createKeepingSink().sink : null
        const fullBody = typeof fields === 'object' ? { ...fields } : {}
        const outcome = await create(outbound).call(
          callOf({ ...bundle, api_base: upstream.url }, fullBody, { sink }),
        )
        expect(outcome).toMatchObject({
          kind: 'error',
          error: { status: expect.toSatisfy((status) => status === 418 || status === null) },
        })
        const error = outcome.kind === 'error' ? outcome.error : null
        if (error?.status === null)
          expect(error).toMatchObject({ class: 'bad_request', isPossiblyBilled: false })
        expect(error?.message).not.toContain('https://10.0.0.1')
      }),
      { numRuns: 120 },
    )
  },
)

test.each(FAMILIES)(
  'however odd an answer, it is an answer or a failure of the provider: %#',
  async (create, bundle) => {
    const request = { messages: [{ role: 'user', content: 'Hi' }] }
    await fc.assert(
      fc.asyncProperty(
        fc.oneof(
          odd.map((value) => JSON.stringify(value)),
          fc.string(),
        ),
        fc.boolean(),
        async (text, isStreamed) => {
          const sink = isStreamed ? createKeepingSink().sink : null
          const events = { kind: 'reply', status: 200, headers: SSE, body: `data: ${text}\n\n` } as const
          upstream.answer(() => (isStreamed ? events : { kind: 'reply', status: 200, body: text }))
          const outcome = await create(outbound).call(
            callOf({ ...bundle, api_base: upstream.url }, request, { sink }),
          )
          const told = outcome.kind === 'error' ? outcome.error.class : 'reply'
          expect(told).not.toMatch(/^(?:reply|bad_request|egress_refused)$/)
        },
      ),
      { numRuns: 60 },
    )
  },
)
