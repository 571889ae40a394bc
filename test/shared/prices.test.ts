import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { costOf, formatUsd, modelData, roundUsd } from '../../shared/routing/prices.ts'

const USD = 1e-6

function usage(input: number, output: number, cached = 0, total = input + output) {
  return { input_tokens: input, output_tokens: output, cached_input_tokens: cached, total_tokens: total }
}

describe('the table', () => {
  // As the providers' own price pages have them: USD per million tokens of input, output, cached input; the window.
  test.for([
    ['openai', 'gpt-4o', 2.5, 10, 1.25, 128_000],
    ['openai', 'gpt-4o-mini', 0.15, 0.6, 0.075, 128_000],
    ['openai', 'gpt-4.1-nano', 0.1, 0.4, 0.025, 1_047_576],
    ['openai', 'gpt-3.5-turbo', 0.5, 1.5, undefined, 16_385],
    ['openai', 'o3', 2, 8, 0.5, 200_000],
    ['openai', 'gpt-5-mini', 0.25, 2, 0.025, 400_000],
    ['anthropic', 'claude-sonnet-4-20250514', 3, 15, 0.3, 200_000],
    ['anthropic', 'claude-3-haiku-20240307', 0.25, 1.25, 0.03, 200_000],
    ['gemini', 'gemini-2.5-flash', 0.3, 2.5, 0.03, 1_048_576],
    ['groq', 'llama-3.3-70b-versatile', 0.59, 0.79, undefined, 131_072],
    ['groq', 'openai/gpt-oss-120b', 0.15, 0.6, 0.075, 131_072],
    ['mistral', 'mistral-large-2411', 2, 6, undefined, 131_072],
    ['moonshot', 'kimi-k2-0711-preview', 0.6, 2.5, 0.15, 131_072],
    ['together_ai', 'meta-llama/Llama-4-Scout-17B-16E-Instruct', 0.18, 0.59, 0.18, 10_000_000],
    ['fireworks_ai', 'accounts/fireworks/models/kimi-k2p5', 0.6, 3, 0.1, 262_144],
    ['openrouter', 'anthropic/claude-3-haiku', 0.25, 1.25, 0.03, 200_000],
    ['bedrock', 'anthropic.claude-3-5-haiku-20241022-v1:0', 0.8, 4, 0.08, 200_000],
  ] as const)('knows %s/%s', ([provider, model, input, output, cached, window]) => {
    const { max_input_tokens, prices } = modelData(provider, model) ?? {}
    expect(max_input_tokens).toBe(window)
    expect(prices?.input).toBeCloseTo(input * USD, 15)
    expect(prices?.output).toBeCloseTo(output * USD, 15)
    if (cached === undefined) expect(prices?.cached_input).toBeUndefined()
    else expect(prices?.cached_input).toBeCloseTo(cached * USD, 15)
  })

  test.for([
    ['azure', 'gpt-4o', 'gpt-4o'],
    ['azure', 'azure/gpt-4o', 'gpt-4o'],
    ['azure', 'gpt-35-turbo', 'gpt-3.5-turbo'],
    ['azure', 'gpt-4.1-2025-04-14', 'gpt-4.1'],
    ['openai', 'openai/gpt-4o', 'gpt-4o'],
    ['openai', 'gpt-4o-mini-2024-07-18', 'gpt-4o-mini'],
  ] as const)('takes %s %s for OpenAI’s %s', ([provider, model, same]) => {
    expect(modelData('openai', same)?.prices).toBeDefined()
    expect(modelData(provider, model)).toEqual(modelData('openai', same))
  })

  test('has a snapshot’s own prices where they differ from its name’s', () => {
    expect(modelData('openai', 'gpt-4o-2024-05-13')?.prices?.input).toBe(0.000005)
    expect(modelData('azure', 'gpt-4o-2024-05-13')?.prices?.input).toBe(0.000005)
  })

  test.for([
    ['openai', 'gpt-4o-something'],
    ['openai', 'my-finetune'],
    ['openai', 'ft:gpt-4o:acme::1'],
    ['openai', 'gpt-4'.padEnd(200, 'x')],
    ['azure', 'chatgpt-v-2'],
    ['mistral', 'mistral-large-2024-01-01'],
    ['hosted_vllm', 'gpt-4o'],
    ['openrouter', 'auto'],
    ['openrouter', 'meta-llama/llama-3.3-70b-instruct'],
    ['openai', ''],
    ['constructor', 'name'],
    ['openai', '__proto__'],
  ] as const)('does not guess at %s/%s', ([provider, model]) => {
    expect(modelData(provider, model)).toBeNull()
  })

  test('knows no price that depends on the hour, and none of zero but for what is free', () => {
    expect(modelData('deepseek', 'deepseek-v4-flash')).toEqual({ max_input_tokens: 1_000_000 })
    const text = readFileSync(new URL('../../shared/routing/model-data.json', import.meta.url), 'utf8')
    const { models } = JSON.parse(text) as { models: Record<string, Record<string, number[]>> }
    const rows = Object.values(models).flatMap((provider) => Object.entries(provider))
    expect(rows.length).toBeGreaterThan(800)
    for (const [id, [window = 0, input, output]] of rows) {
      expect(window, id).toBeGreaterThan(1_000)
      if (input === undefined || output === undefined) continue
      if (id.endsWith(':free')) expect([input, output], id).toEqual([0, 0])
      else expect(Math.min(input, output), id).toBeGreaterThan(0)
      expect(Math.max(input, output), id).toBeLessThan(1_000)
    }
  })
})

describe('a cost', () => {
  const prices = { input: 2 * USD, output: 10 * USD, cached_input: USD }

  test('is that of input, cached input and output', () => {
    expect(costOf(usage(1_000, 100, 400), prices, 3)).toBe(0.0026)
    expect(costOf(usage(1_000, 100, 400), { input: 2 * USD, output: 10 * USD }, 3)).toBe(0.003)
    expect(costOf(usage(0, 0), prices, 3)).toBe(0)
  })

  test('is that of the time, alone or beside the tokens', () => {
    expect(costOf(null, { per_second: 0.01 }, 3)).toBe(0.03)
    expect(costOf(usage(1_000, 100), { per_second: 0.01 }, 3)).toBe(0.03)
    expect(costOf(usage(1_000, 100), { ...prices, per_second: 0.01 }, 3)).toBe(0.033)
  })

  test.for([
    ['no prices', usage(10, 10), undefined],
    ['an empty price', usage(10, 10), {}],
    ['no usage', null, prices],
    ['no usage beside a price by time', null, { ...prices, per_second: 1 }],
    ['no price of input', usage(10, 10), { output: USD }],
    ['no price of output', usage(10, 10), { input: USD }],
    ['an input so long that other prices hold', usage(1_001, 10), { ...prices, input_tokens_max: 1_000 }],
    ['only a total', usage(0, 0, 0, 50), prices],
  ] as const)('is not known with %s', ([, tokens, known]) => {
    expect(costOf(tokens, known, 3)).toBeNull()
  })

  test('counts reasoning that stands in the total alone as output', () => {
    expect(costOf(usage(1_000, 100, 0, 1_600), prices, 3)).toBe(0.008)
  })

  test('of cached tokens is never more than the whole input’s', () => {
    expect(costOf(usage(100, 0, 5_000), prices, 3)).toBe(0.0001)
  })

  test('is written as a plain decimal that reads back as the same amount', () => {
    expect([2e-7, 0, 0.1 + 0.2, 12, 1.5, 1e-13].map(formatUsd)).toEqual([
      '0.0000002',
      '0',
      '0.3',
      '12',
      '1.5',
      '0',
    ])
    fc.assert(
      fc.property(fc.double({ min: 0, max: 1e6, noNaN: true }), (amount) => {
        const text = formatUsd(amount)
        expect(text).toMatch(/^\d+(\.\d+)?$/)
        expect(Number(text)).toBe(roundUsd(amount))
      }),
    )
  })
})
