import { expect, test } from 'vitest'
import type { CredentialBundle } from '../../shared/schemas/plan.ts'
import { OutboundError, type OutboundErrorKind } from '../../worker/outbound-error.ts'
import { classifyAnswer, classifyFailure, invalidAnswer } from '../../worker/providers/classify.ts'
import type { ErrorClass } from '../../shared/schemas/error-class.ts'
import { createRedact } from '../../worker/providers/redact.ts'
import { ANSWERS, ANSWERS_NOW, openaiError } from './provider-answers.ts'

const KEY = 'canary-key-7f3a9b21'
const TOKEN = 'canary+token/=='
const bundle: CredentialBundle = {
  provider: 'openai',
  model: 'm',
  api_base: 'https://example.com/v1',
  trusted_base: false,
  api_key: KEY,
  api_version: null,
  organization: null,
  azure_ad_token: TOKEN,
  headers: { 'x-extra': 'canary-header' },
  params: {},
}

function classify(status: number, body: unknown, headers: Record<string, string> = {}) {
  const bytes = Buffer.from(typeof body === 'string' ? body : JSON.stringify(body))
  return classifyAnswer({ status, headers, body: bytes }, createRedact(bundle), ANSWERS_NOW)
}

test.each(ANSWERS)(
  '$status $errorClass: $source',
  ({ status, body, headers, errorClass, isRetryable, code, retryAfterMs }) => {
    const error = classify(status, body, headers)
    expect(error).toMatchObject({ class: errorClass, isRetryable, status: expect.any(Number) })
    expect(error.retryAfterMs === null ? null : Math.round(error.retryAfterMs)).toBe(retryAfterMs)
    if (status >= 300) expect(error.status).toBe(status)
    if (code !== undefined) expect(error.code).toBe(code)
    expect(JSON.stringify(error)).not.toMatch(/canary|<[a-z!/]|__cf_bm/i)
    expect(error.message).not.toBe('')
  },
)

test('there are answers of all the providers that people use, each from a place of its own', () => {
  expect(ANSWERS.length).toBeGreaterThanOrEqual(100)
  expect(ANSWERS.filter(({ source }) => !source.startsWith('made up')).length).toBeGreaterThanOrEqual(60)
  expect(new Set(ANSWERS.map(({ errorClass }) => errorClass)).size).toBeGreaterThanOrEqual(13)
})

test.each([
  ['OpenAI', /openai\.com/],
  ['Azure', /microsoft\.com/],
  ['Anthropic', /anthropic/],
  ['Gemini', /ai\.google\.dev|gemini/],
  ['Bedrock', /amazon|aws|bedrock/],
  ['Mistral', /mistral/],
  ['Groq', /groq/],
  ['OpenRouter', /openrouter/],
  ['vLLM', /vllm/],
])('there are answers of %s', (_name, pattern) => {
  expect(ANSWERS.filter(({ source }) => pattern.test(source)).length).toBeGreaterThanOrEqual(3)
})

test.each(['constructor', 'toString', '__proto__', 'hasOwnProperty', 'valueOf'])(
  'a code that every object has a member of is no class: %s',
  (name) => {
    expect(classify(400, openaiError('Bad.', name, name))).toMatchObject({ class: 'bad_request' })
    expect(classify(200, { error: { message: 'Bad.', code: name, status: name } }).class).toBe('bad_gateway')
  },
)

test("the provider's own words, type, param and code are passed on", () => {
  const error = classify(
    400,
    openaiError('Bad value.', 'invalid_request_error', 'unsupported_value', 'messages[0].role'),
  )
  expect(error).toMatchObject({
    status: 400,
    message: 'Bad value.',
    type: 'invalid_request_error',
    param: 'messages[0].role',
    code: 'unsupported_value',
  })
})

test.each([
  '<html><body>internal-host-17 stack trace</body></html>',
  'internal-host-17',
  '"internal-host-17"',
  '{"msg":"internal-host-17"}',
  '{"detail":{"host":"internal-host-17"}}',
  '{"detail":[{"input":"internal-host-17"}]}',
  '{"error":{"host":"internal-host-17"}}',
  '{"error":{"message":"<p>internal-host-17</p>"}}',
  '{"message":"<!DOCTYPE html><title>internal-host-17</title>"}',
  '{"error":["internal-host-17"]}',
  '{"error":{"message":"<pre>internal-host-17</pre>"}}',
  '{"error":{"message":"<a href=\\"http://internal-host-17/\\">x</a>"}}',
  '{"error":{"message":"<?xml version=\\"1.0\\"?><Error><Host>internal-host-17</Host></Error>"}}',
  '{"error":{"message":"<!-- internal-host-17 -->"}}',
  '{"error":{"message":"<br/>internal-host-17"}}',
  '{"detail":[{"msg":"<table><tr><td>internal-host-17</td></tr></table>"}]}',
])('a body of no known shape is never repeated: %s', (body) => {
  for (const status of [400, 404, 500, 502]) {
    const text = JSON.stringify(classify(status, body))
    expect(text).not.toContain('internal-host-17')
    expect(text).toContain(`The provider answered ${status} without a readable error.`)
  }
})

test('a page is left out of the field that is to blame, too', () => {
  const error = openaiError('Bad.', 'invalid_request_error', null, '<html>internal-host-17</html>')
  expect(classify(400, error)).toMatchObject({ message: 'Bad.', param: null })
})

test.each([
  'Unexpected token <|im_start|> in messages[0]',
  'List<String> expected, not Map<string, integer>',
  'The answer must be in <answer> tags, not in <think>',
  'temperature must be >= 0 and < 2',
])('words in angle brackets are no page: %s', (message) => {
  expect(classify(400, openaiError(message, 'invalid_request_error')).message).toBe(message)
})

function say(raw: unknown): string {
  const metadata = { raw }
  return classify(502, { error: { code: 502, message: 'Provider returned error', metadata } }).message
}

test("an upstream's own words follow those of the gateway before it, a page of its does not", () => {
  expect(say('{"error":{"message":"Model is down"}}')).toBe('Provider returned error: Model is down')
  expect(say('{"message":"Model is down"}')).toBe('Provider returned error: Model is down')
  expect(say('Model is down')).toBe('Provider returned error: Model is down')
  for (const raw of [
    '<html>canary</html>',
    '{"canary":1}',
    '["canary"]',
    '"canary"',
    '',
    7,
    'x'.repeat(30_000),
  ]) {
    expect(say(raw)).toBe('Provider returned error')
  }
})

test('what FastAPI finds wrong is told with its place, without what the client sent', () => {
  const detail = [
    { type: 'missing', loc: ['body', 'messages', 0, 'role'], msg: 'Field required', input: 'canary' },
    { type: 'int_type', loc: ['body', 'n'], msg: 'Input should be a valid integer', input: 'canary' },
    'canary',
  ]
  expect(classify(422, { detail })).toMatchObject({
    message: 'Field required; Input should be a valid integer',
    param: 'messages.0.role',
  })
})

test('whose account it is and keys of other makes are taken out', () => {
  const message = [
    'User: arn:aws:iam::123456789012:user/canary is not authorized',
    'organization `org_canary123` org-canary4567 key AIzaSyCanary_1234567 AKIACANARY1234567890',
    'token hf_canarycanary or eyJhbGciOiJI.canary.sig',
  ].join(', ')
  expect(classify(403, { message }).message).not.toMatch(/canary/i)
})

test('keys, tokens, extra headers, masked keys and URL secrets are taken out of every field', () => {
  const message = [
    `key ${KEY} token ${TOKEN} encoded ${encodeURIComponent(TOKEN)} header canary-header`,
    'Incorrect API key provided: sk-canar****************7890. Bearer canary-other',
    'see https://user:canary-pass@example.com/path?key=canary-query, and more',
  ].join(' ')
  for (const status of [400, 401, 500]) {
    const error = classify(status, openaiError(message, KEY, KEY, `messages.${KEY}`))
    expect(JSON.stringify(error)).not.toContain('canar')
    expect(error.message).toContain('https://example.com/path')
  }
})

test('a long message is cut after it was redacted', () => {
  const error = classify(
    400,
    openaiError(`${'x'.repeat(990)}${KEY}${'y'.repeat(5_000)}`, 'invalid_request_error'),
  )
  expect(error.message.length).toBeLessThanOrEqual(1_001)
  expect(error.message).not.toContain('canary')
})

test.each([504, 524])('a gateway that stopped waiting (%i) may have let the model run', (status) => {
  expect(classify(status, '').isPossiblyBilled).toBe(true)
})

test.each([400, 401, 429, 500, 502, 503])('an error answer (%i) was not billed', (status) => {
  expect(classify(status, '').isPossiblyBilled).toBe(false)
})

test('the wait that a provider asks for is read', () => {
  expect(classify(429, '', { 'retry-after': '3' }).retryAfterMs).toBe(3_000)
  expect(classify(503, '', { 'retry-after-ms': '40' }).retryAfterMs).toBe(40)
  expect(classify(429, '', { 'x-ratelimit-reset-tokens': '2s' }).retryAfterMs).toBe(2_000)
  expect(classify(500, '', { 'x-ratelimit-reset-tokens': '2s' }).retryAfterMs).toBeNull()
})

test.each<[OutboundErrorKind, boolean, ErrorClass, boolean]>([
  ['refused', false, 'egress_refused', false],
  ['connect', false, 'api_connection', true],
  ['timeout_connect', false, 'api_connection', true],
  ['timeout_first_byte', true, 'timeout', true],
  ['timeout_idle', true, 'timeout', true],
  ['timeout_total', true, 'timeout', true],
  ['timeout_total', false, 'timeout', true],
  ['too_large', true, 'response_invalid', true],
  ['protocol', true, 'response_invalid', true],
  ['reset', true, 'api_connection', true],
  ['aborted', true, 'api_connection', true],
  ['aborted', false, 'api_connection', true],
])('%s (sent: %s) is %s, and possibly billed when it was sent', (kind, sent, errorClass, isRetryable) => {
  const error = classifyFailure(new OutboundError(kind, sent, 'text'))
  expect(error).toMatchObject({ class: errorClass, isRetryable, isPossiblyBilled: sent, status: null })
})

test('an answer that is no completion may be tried again and was probably paid for', () => {
  expect(invalidAnswer(200, 'with nothing')).toMatchObject({
    class: 'response_invalid',
    isRetryable: true,
    isPossiblyBilled: true,
  })
})
