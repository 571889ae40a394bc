import { expect, test } from 'vitest'
import { servedProviders } from '../../shared/settings/provider-catalog.ts'
import { renameParams } from '../../worker/providers/renamed-params.ts'

const body = { model: 'm', seed: 7, max_completion_tokens: 5, temperature: 0 }

test('a parameter goes out under the name that its provider has for it, where it stood', () => {
  expect(Object.entries(renameParams(body, 'mistral'))).toEqual([
    ['model', 'm'],
    ['random_seed', 7],
    ['max_tokens', 5],
    ['temperature', 0],
  ])
  expect(renameParams(body, 'deepseek')).toEqual({ model: 'm', seed: 7, max_tokens: 5, temperature: 0 })
})

test("what stands under the provider's own name wins, and nothing is taken away", () => {
  const both = { max_tokens: 1, max_completion_tokens: 2 }
  expect(renameParams(both, 'mistral')).toBe(both)
})

test('for everybody else a body goes out as it came', () => {
  for (const provider of ['openai', 'azure', 'custom_openai', 'hosted_vllm', 'groq', 'openrouter']) {
    expect(renameParams(body, provider)).toBe(body)
  }
  const changed = servedProviders().filter((provider) => renameParams(body, provider) !== body)
  expect(changed.length).toBeLessThan(15)
})
