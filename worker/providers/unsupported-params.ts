type Rule = {
  providers: readonly string[]
  /** Only these models; all when absent. */
  models?: RegExp
  names: readonly string[]
  /** Taken with the value 1 only, which is the default. */
  onlyOne?: readonly string[]
}

const OPENAI = ['openai', 'azure']
const SAMPLING = ['logprobs', 'top_logprobs', 'top_p', 'presence_penalty', 'frequency_penalty']
const FUNCTIONS = ['function_call', 'functions']
const OPENAI_ONLY = ['audio', 'modalities', 'service_tier', 'store', 'web_search_options']

/**
 * Body parameters that a provider answers with an error, as far as it is known; LiteLLM has them in
 * `get_supported_openai_params` of litellm/llms/PROVIDER/chat/transformation.py. Limits of tokens are never in a list: a call
 * without them would cost what they were to save.
 * @see https://console.groq.com/docs/openai (Groq)
 * @see https://docs.mistral.ai/api (Mistral: takes nothing that it does not list; `seed` is `random_seed` there)
 * @see https://docs.cohere.com/docs/compatibility-api (Cohere)
 * @see https://docs.perplexity.ai/api-reference/chat-completions-post (Perplexity)
 */
const RULES: readonly Rule[] = [
  {
    providers: OPENAI,
    models: /^o[134](?:-|$)/,
    names: SAMPLING,
    onlyOne: ['temperature'],
  },
  {
    // From 5.1 on they take these at the default reasoning effort.
    providers: OPENAI,
    models: /^gpt-5(?:-(?!chat)|$)/,
    names: [...SAMPLING, 'stop', 'logit_bias', 'modalities', 'prediction', 'audio', 'web_search_options'],
    onlyOne: ['temperature'],
  },
  { providers: ['groq'], names: ['logit_bias', 'logprobs', 'top_logprobs'], onlyOne: ['n'] },
  {
    providers: ['mistral', 'codestral'],
    names: [
      ...FUNCTIONS,
      ...OPENAI_ONLY,
      'logit_bias',
      'logprobs',
      'seed',
      'stream_options',
      'top_logprobs',
      'user',
    ],
  },
  {
    providers: ['perplexity'],
    names: [
      ...FUNCTIONS,
      'tools',
      'tool_choice',
      'parallel_tool_calls',
      'logit_bias',
      'logprobs',
      'n',
      'seed',
      'stop',
      'top_logprobs',
      'user',
    ],
  },
  {
    providers: ['cohere', 'cohere_chat'],
    names: [
      ...FUNCTIONS,
      ...OPENAI_ONLY,
      'logit_bias',
      'metadata',
      'n',
      'parallel_tool_calls',
      'prediction',
      'top_logprobs',
      'user',
    ],
  },
  { providers: ['xai'], names: [...FUNCTIONS, 'audio', 'modalities', 'prediction', 'store'] },
  { providers: ['xai'], models: /grok-3-mini|grok-4|grok-code-fast/, names: ['stop'] },
  { providers: ['xai'], models: /grok-4|grok-code-fast/, names: ['frequency_penalty'] },
  {
    providers: ['fireworks_ai'],
    names: [...FUNCTIONS, ...OPENAI_ONLY, 'logit_bias', 'parallel_tool_calls', 'seed', 'top_logprobs'],
  },
]

/** Which of a body's parameters the provider is known not to take; none for a provider that nothing is known of. */
export function findUnsupported(
  { provider, model }: { provider: string; model: string },
  body: Record<string, unknown>,
): string[] {
  const rules = RULES.filter(
    ({ providers, models }) => providers.includes(provider) && (models?.test(model) ?? true),
  )
  const names = rules.flatMap((rule) => [
    ...rule.names,
    ...(rule.onlyOne ?? []).filter((name) => body[name] !== 1),
  ])
  return names.filter((name) => Object.hasOwn(body, name))
}
