import { expect, test } from 'vitest'
import { parseRetryAfterMs, retryDelayMs } from '../../worker/backoff.ts'

const base = {
  retry: 0,
  retryAfterMs: null,
  retryAfterSecondsMin: 0,
  initialMs: 500,
  random: () => 0,
}
const NOW = Date.parse('2026-11-23T12:00:00Z')

test('the wait doubles from half a second up to eight', () => {
  const waits = [0, 1, 2, 3, 4, 5, 50].map((retry) => retryDelayMs({ ...base, retry }))
  expect(waits).toEqual([500, 1_000, 2_000, 4_000, 8_000, 8_000, 8_000])
})

test('the config can ask for more, up to eight seconds', () => {
  expect(retryDelayMs({ ...base, retryAfterSecondsMin: 3 })).toBe(3_000)
  expect(retryDelayMs({ ...base, retryAfterSecondsMin: 20 })).toBe(8_000)
})

test('jitter adds up to three quarters of a second and never shortens a wait', () => {
  expect(retryDelayMs({ ...base, random: () => 0.999 })).toBeCloseTo(1_249.25)
  expect(retryDelayMs({ ...base, retryAfterMs: 5_000, random: () => 0.5 })).toBe(5_375)
})

test.each([5_000, 15_000, 60_000, 61_000, 3_600_000])(
  'a Retry-After of %i ms is honoured in full',
  (retryAfterMs) => {
    expect(retryDelayMs({ ...base, retryAfterMs })).toBe(retryAfterMs)
  },
)

test.each<[Record<string, string>, number | null]>([
  [{}, null],
  [{ 'retry-after': '7' }, 7_000],
  [{ 'retry-after': ' 0.5 ' }, 500],
  [{ 'retry-after': '0' }, 0],
  [{ 'retry-after': 'Mon, 23 Nov 2026 12:00:30 GMT' }, 30_000],
  [{ 'retry-after': 'Mon, 23 Nov 2026 11:00:00 GMT' }, 0],
  [{ 'retry-after': 'soon' }, null],
  [{ 'retry-after': '-5' }, null],
  [{ 'retry-after': 'Infinity' }, null],
  [{ 'retry-after': '1e9' }, null],
  [{ 'retry-after': '99999999999999' }, 7 * 86_400_000],
  [{ 'retry-after-ms': '250', 'retry-after': '1' }, 250],
  [{ 'x-ms-retry-after-ms': '1500' }, 1_500],
])('%j asks for %s ms', (headers, expected) => {
  expect(parseRetryAfterMs(headers, NOW)).toBe(expected)
})

test.each<[Record<string, string>, number | null]>([
  // Forms of OpenAI's rate limit guide, of Groq, and of OpenRouter (milliseconds since 1970).
  [{ 'x-ratelimit-reset-requests': '1s', 'x-ratelimit-reset-tokens': '6m0s' }, 1_000],
  [
    {
      'x-ratelimit-reset-requests': '1s',
      'x-ratelimit-reset-tokens': '6m0s',
      'x-ratelimit-remaining-requests': '59',
      'x-ratelimit-remaining-tokens': '0',
    },
    360_000,
  ],
  [{ 'x-ratelimit-reset-tokens': '7.66s' }, 7_660],
  [{ 'x-ratelimit-reset-tokens': '20ms' }, 20],
  [{ 'x-ratelimit-reset-requests': '1h2m3s' }, 3_723_000],
  [{ 'x-ratelimit-reset-requests': '10' }, 10_000],
  [{ 'x-ratelimit-reset': String(NOW + 4_000) }, 4_000],
  [{ 'x-ratelimit-reset': String(NOW / 1000 + 4) }, 4_000],
  [{ 'x-ratelimit-reset': '2026-11-23T12:01:00Z' }, 60_000],
  [{ 'x-ratelimit-reset': 'later' }, null],
  [{ 'retry-after': '2', 'x-ratelimit-reset-requests': '9s' }, 2_000],
])('of a 429, %j asks for %s ms', (headers, expected) => {
  expect(parseRetryAfterMs(headers, NOW, true)).toBe(expected)
})

test('when limits are reset is no reason to wait after anything but a 429', () => {
  expect(parseRetryAfterMs({ 'x-ratelimit-reset-requests': '1s' }, NOW)).toBeNull()
})
