import { expect, test } from 'vitest'
import { parseRestMs, pickHeaders } from '../../worker/providers/rate-headers.ts'
import { createRedact } from '../../worker/providers/redact.ts'
import { bundleOf } from './provider-calls.ts'

const redact = createRedact(bundleOf({ api_key: 'my-own-key' }))
const NOW = Date.parse('2026-11-23T12:00:00Z')
const openai = (kind: string, remaining: string, reset: string, limit?: string) => ({
  [`x-ratelimit-remaining-${kind}`]: remaining,
  [`x-ratelimit-reset-${kind}`]: reset,
  ...(limit === undefined ? {} : { [`x-ratelimit-limit-${kind}`]: limit }),
})
const anthropic = (kind: string, remaining: string, reset: string, limit?: string) => ({
  [`anthropic-ratelimit-${kind}-remaining`]: remaining,
  [`anthropic-ratelimit-${kind}-reset`]: reset,
  ...(limit === undefined ? {} : { [`anthropic-ratelimit-${kind}-limit`]: limit }),
})

test.each<[string, Record<string, string>, number | null]>([
  ['nothing is said', {}, null],
  ['one request is left', openai('requests', '1', '1s', '60'), null],
  ['no request is left, of an unknown number', openai('requests', '0', '6m0s'), 360_000],
  ['no request of 60 a minute is left: one a second', openai('requests', '0', '1m0s', '60'), 1_000],
  ['no request of 14,400 a day is left (Groq)', openai('requests', '0', '24h', '14400'), 6_000],
  ['the limit is one: it is back when it is full', openai('requests', '0', '20s', '1'), 20_000],
  ['a large bucket refills at once, near enough', openai('tokens', '0', '1s', '150000'), 50],
  ['less than nothing is left', openai('tokens', '-120', '7.66s'), 7_660],
  ['the reset is a plain number of seconds (Azure)', openai('requests', '0', '10'), 10_000],
  [
    'two kinds are used up: the later counts',
    { ...openai('requests', '0', '3s'), ...openai('tokens', '0', '9s') },
    9_000,
  ],
  [
    'only one of two kinds is used up: the reset of the other is no matter',
    { ...openai('requests', '0', '3s'), ...openai('tokens', '12', '9s') },
    3_000,
  ],
  ['nothing is left, but not until when (Mistral)', { 'x-ratelimit-remaining-req-minute': '0' }, null],
  ['the reset is over', anthropic('requests', '0', '2026-11-23T11:59:00Z'), null],
  ['a moment in RFC 3339 (Anthropic)', anthropic('requests', '0', '2026-11-23T12:00:30Z'), 30_000],
  ['Anthropic with a limit', anthropic('requests', '0', '2026-11-23T12:01:00Z', '50'), 1_200],
  ['Anthropic, input tokens', anthropic('input-tokens', '0', '2026-11-23T12:00:05Z'), 5_000],
  ['Anthropic, output tokens', anthropic('output-tokens', '0', '2026-11-23T12:00:07Z'), 7_000],
  ['Anthropic, all tokens', anthropic('tokens', '0', '2026-11-23T12:00:09Z'), 9_000],
  ['it asks to wait', { 'retry-after-ms': '250' }, 250],
  ['it asks to wait for nothing', { 'retry-after-ms': '0' }, null],
  ['a day is cut to an hour', openai('requests', '0', '1d'), 3_600_000],
  ['a limit of nothing', openai('requests', '0', '4s', '0'), 4_000],
  ['a reset that is no time', openai('requests', '0', 'soon', '60'), null],
  ['a remaining that is no number', openai('requests', 'none', '4s'), null],
])('when %s', (_case, headers, expected) => {
  expect(parseRestMs(headers, NOW)).toBe(expected)
})

test('headers of rates, waits and request ids are passed on, and none besides', () => {
  const shown = {
    'x-ratelimit-remaining-requests': '59',
    'x-ratelimit-reset-tokens': '6m0s',
    'x-ratelimit-limit-tokens': '150000',
    'x-ratelimit-remaining-req-minute': '717',
    'anthropic-ratelimit-input-tokens-remaining': '400',
    'anthropic-ratelimit-requests-reset': '2026-11-23T12:00:30Z',
    'retry-after': '7',
    'retry-after-ms': '7000',
    'openai-processing-ms': '320',
    'x-request-id': 'req_1',
    'request-id': 'req_2',
  }
  const hidden = {
    'set-cookie': ['session=canary'],
    'openai-organization': 'org-canary',
    'anthropic-organization-id': 'canary',
    'x-ratelimit-remaining-project-tokens': 'canary',
    'x-groq-region': 'canary',
    'cf-ray': 'canary',
    server: 'canary',
    location: 'https://canary.example',
  }
  expect(pickHeaders({ ...hidden, ...shown }, redact)).toEqual(shown)
})

test('a value that is passed on is short and printable', () => {
  const headers = { 'x-request-id': ['a\u0007b\r\nc\u00e9', 'second'], 'retry-after': '9'.repeat(900) }
  const picked = pickHeaders(headers, redact)
  expect(picked).toEqual({ 'x-request-id': 'abc', 'retry-after': '9'.repeat(200) })
  expect(pickHeaders({ 'x-request-id': '', 'request-id': '\u0001' }, redact)).toEqual({})
})

test('a header that echoes a secret is left out', () => {
  const headers = { 'x-request-id': 'my-own-\u0001key', 'request-id': 'sk-canary1234567', 'retry-after': '1' }
  expect(pickHeaders(headers, redact)).toEqual({ 'retry-after': '1' })
})
