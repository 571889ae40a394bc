import { expect, test } from 'vitest'
import { estimateTokens } from '../../worker/tokens.ts'

const messages = [{ role: 'user', content: 'x'.repeat(400) }]

test('an estimate is the text and the most it may be answered with', () => {
  expect(estimateTokens({ messages: [{ content: 'x'.repeat(400) }], max_tokens: 50 })).toBe(150)
  expect(estimateTokens({})).toBe(1)
})

test.each([
  1e308,
  Number.MAX_SAFE_INTEGER,
  Number.POSITIVE_INFINITY,
  10_000_001,
  0.5,
  -1,
  Number.NaN,
  '9',
  {},
])('whatever max_tokens says, an estimate is a whole number up to ten million: %s', (asked) => {
  for (const field of ['max_tokens', 'max_completion_tokens']) {
    const tokens = estimateTokens({ messages, [field]: asked })
    expect(Number.isInteger(tokens)).toBe(true)
    expect(tokens).toBeGreaterThan(0)
    expect(tokens).toBeLessThanOrEqual(10_000_000)
  }
})
