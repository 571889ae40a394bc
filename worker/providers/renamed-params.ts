/** What providers call a parameter of OpenAI's that they have under another name. */
const RENAMED: readonly { providers: readonly string[]; from: string; to: string }[] = [
  {
    // They read the old name of the limit alone: a call without it could cost what it was to save.
    providers: [
      'chutes',
      'codestral',
      'cohere',
      'cohere_chat',
      'databricks',
      'deepseek',
      'mistral',
      'nano-gpt',
      'nvidia_nim',
      'poe',
      'publicai',
      'synthetic',
    ],
    from: 'max_completion_tokens',
    to: 'max_tokens',
  },
  { providers: ['codestral', 'mistral'], from: 'seed', to: 'random_seed' },
]

/**
 * A body with parameters under the names that the provider has for them, in the places where they stood; the body itself where
 * nothing is to be changed. What stands under the provider's own name already is left alone.
 * @see https://docs.mistral.ai/api (Mistral)
 * @see https://docs.cohere.com/docs/compatibility-api (Cohere)
 * @see https://api-docs.deepseek.com/api/create-chat-completion (DeepSeek)
 */
export function renameParams(body: Record<string, unknown>, provider: string): Record<string, unknown> {
  const names = new Map(
    RENAMED.flatMap(({ providers, from, to }) =>
      providers.includes(provider) && Object.hasOwn(body, from) && !Object.hasOwn(body, to)
        ? [[from, to]]
        : [],
    ),
  )
  if (names.size === 0) return body
  return Object.fromEntries(Object.entries(body).map(([name, value]) => [names.get(name) ?? name, value]))
}
