import { describe, expect, test } from 'vitest'
import { findProvider, resolveModel, servedProviders } from '../../shared/settings/provider-catalog.ts'

describe('the provider of a model', () => {
  const resolved: [string, Parameters<typeof resolveModel>[1], string, string][] = [
    ['gpt-3.5-turbo', {}, 'openai', 'gpt-3.5-turbo'],
    ['gpt-3.5-turbo', { apiVersion: '2024-10-21' }, 'azure', 'gpt-3.5-turbo'],
    ['openai/gpt-4o', { apiVersion: '2024-10-21' }, 'openai', 'gpt-4o'],
    ['azure/chatgpt-v-2', {}, 'azure', 'chatgpt-v-2'],
    ['openrouter/anthropic/claude-3', {}, 'openrouter', 'anthropic/claude-3'],
    ['meta-llama/Llama-3', { customProvider: 'together_ai' }, 'together_ai', 'meta-llama/Llama-3'],
    ['together_ai/meta-llama/x', { customProvider: 'together_ai' }, 'together_ai', 'meta-llama/x'],
    ['bedrock/converse/us.amazon.nova-lite-v1:0', {}, 'bedrock', 'us.amazon.nova-lite-v1:0'],
    ['bedrock/invoke/anthropic.claude-v2', {}, 'bedrock', 'anthropic.claude-v2'],
    ['bedrock/arn:aws:bedrock:us-east-1:1:x/y', {}, 'bedrock', 'arn:aws:bedrock:us-east-1:1:x/y'],
    ['azure/o_series/my-o3', {}, 'azure', 'my-o3'],
    ['huggingface/together/deepseek-ai/DeepSeek-R1', {}, 'huggingface', 'deepseek-ai/DeepSeek-R1:together'],
    ['huggingface/deepseek-ai/DeepSeek-R1', {}, 'huggingface', 'deepseek-ai/DeepSeek-R1'],
    ['github/openai/gpt-4o', {}, 'github', 'openai/gpt-4o'],
    ['vertex_ai/claude-sonnet-4@20250514', {}, 'vertex_ai', 'claude-sonnet-4@20250514'],
    ['fireworks_ai/llama', {}, 'fireworks_ai', 'accounts/fireworks/models/llama'],
    ['fireworks_ai/accounts/me/models/x', {}, 'fireworks_ai', 'accounts/me/models/x'],
  ]
  test.each(resolved)('%s %j is %s', (written, hints, provider, model) => {
    expect(resolveModel(written, hints)).toMatchObject({
      kind: 'resolved',
      provider: { name: provider },
      model,
    })
  })

  test.each(['meta-llama/Llama-3', 'openai/', '/x', 'nobody/gpt'])(
    '%s has none: nothing is guessed',
    (written) => {
      expect(resolveModel(written).kind).toBe('unresolved')
    },
  )

  test('an unknown custom_llm_provider is refused', () => {
    expect(resolveModel('gpt-4o', { customProvider: 'nobody' }).kind).toBe('unresolved')
  })
})

describe('the catalog', () => {
  test('every default base is https, absolute and without a slash at its end', () => {
    const bases = servedProviders().flatMap((name) => findProvider(name)?.defaultBase ?? [])
    expect(bases.length).toBeGreaterThan(30)
    for (const base of bases) {
      expect(base).toMatch(/^https:\/\/[^/]+.*[^/]$/)
      expect(`${new URL(base).origin}${new URL(base).pathname.replace(/\/$/, '')}`).toBe(base)
    }
  })

  test('no provider has a default base on loopback', () => {
    for (const name of ['llamafile', 'lm_studio', 'hosted_vllm', 'ollama', 'ollama_chat', 'xinference'])
      expect(findProvider(name)?.defaultBase).toBeNull()
  })
})
