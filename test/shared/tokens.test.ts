import { expect, test } from 'vitest'
import { estimateTokens } from '../../shared/routing/tokens.ts'

const messages = [{ content: 'x'.repeat(400) }]

test('an estimate is the text with its tools, and the most it may be answered with', () => {
  expect(estimateTokens({ messages, max_tokens: 50 })).toEqual({ input: 100, output: 50 })
  const tools = [{ description: 'x'.repeat(40) }]
  expect(estimateTokens({ messages, tools, max_completion_tokens: 7, max_tokens: 50 })).toEqual({
    input: 110,
    output: 7,
  })
  expect(estimateTokens({})).toEqual({ input: 1, output: 0 })
})

test.each([
  [1, 50],
  [3, 150],
  [128, 6_400],
  [129, 50],
  [0, 50],
  [-2, 50],
  [1.5, 50],
  ['4', 50],
  [null, 50],
])('of n answers each may be as long as allowed: %s', (n, output) => {
  expect(estimateTokens({ messages, max_tokens: 50, n }).output).toBe(output)
})

test('many long answers stay within the bound', () => {
  expect(estimateTokens({ messages, max_tokens: 9_000_000, n: 128 })).toEqual({
    input: 100,
    output: 9_999_900,
  })
})

test('a picture inside the request counts as one, not by its characters', () => {
  const image = { type: 'image_url', image_url: { url: `data:image/png;base64,${'A'.repeat(400_000)}` } }
  expect(estimateTokens({ messages: [{ content: [image] }] }).input).toBeLessThan(2_000)
})

test.each([1e308, Number.MAX_SAFE_INTEGER, Infinity, 10_000_001, 0.5, -1, Number.NaN, '9', {}])(
  'whatever max_tokens says, an estimate is whole numbers of at most ten million together: %s',
  (asked) => {
    for (const field of ['max_tokens', 'max_completion_tokens']) {
      const { input, output } = estimateTokens({ messages, [field]: asked })
      expect([Number.isInteger(input), Number.isInteger(output)]).toEqual([true, true])
      expect(input).toBe(100)
      expect(output).toBeGreaterThanOrEqual(0)
      expect(input + output).toBeLessThanOrEqual(10_000_000)
    }
  },
)

test.each([
  [{ messages: [{ role: 'user', content: 'x'.repeat(400) }] }, 101],
  [{ input: 'x'.repeat(400) }, 100],
  [{ input: ['x'.repeat(400), 'x'.repeat(400)] }, 200],
  [
    {
      input: [
        [1, 2, 3],
        [4, 5],
      ],
    },
    5,
  ],
  [{ prompt: [1, 2, 3] }, 3],
  [{ messages: [], system: 'x'.repeat(400) }, 100],
  [{ input: [], instructions: 'x'.repeat(400) }, 100],
])('the prompt of any endpoint counts: %o', (body, input) => {
  expect(estimateTokens(body).input).toBe(input)
})

test('a Response’s limit of output counts', () => {
  expect(estimateTokens({ input: 'x', max_output_tokens: 70 }).output).toBe(70)
})
