import { ENDPOINTS, type EndpointName } from './endpoints.ts'

/** What the gateway knows of one provider. */
export type ProviderEntry = {
  name: string
  /** Whose wire form it speaks; `unserved` is none that this version knows. */
  family: ProviderFamily
  /** What it can be asked for, by itself or by translation. */
  endpoints: readonly EndpointName[]
  /** Those that its API has itself: requests and answers of these pass as they are. */
  native: readonly EndpointName[]
  /** Credentials and places besides `api_key`, by LiteLLM's names, that it is called with. */
  authFields: readonly string[]
  /** Absolute base without trailing slash; null when every deployment must name its own. */
  defaultBase: string | null
  /** Servers that run without a key, which only an explicit base can reach. */
  isKeyOptional: boolean
  /** Environment variables that hold an operator's key or base, first one set wins. Never read for clients. */
  keyVariables: string[]
  baseVariables: string[]
}

export type ProviderFamily = 'openai' | 'azure' | 'anthropic' | 'gemini' | 'vertex' | 'bedrock' | 'unserved'

/** Used for Azure when no `api_version` is given, as LiteLLM does. */
export const AZURE_API_VERSION = '2025-02-01-preview'

/** By an OpenAI-shaped API all can be had; `responses` and `messages` by way of a chat completion where it lacks them. */
const OPENAI_SHAPED: readonly EndpointName[] = ENDPOINTS.map(({ name }) => name)
const OPENAI_NATIVE: readonly EndpointName[] = ['chat', 'completions', 'embeddings', 'moderations']
const WITH_RESPONSES: readonly EndpointName[] = [...OPENAI_NATIVE, 'responses']

const DEFAULT_BASES: [name: string, defaultBase: string, ...keyVariables: string[]][] = [
  ['openai', 'https://api.openai.com/v1', 'OPENAI_API_KEY'],
  ['mistral', 'https://api.mistral.ai/v1', 'MISTRAL_API_KEY'],
  ['codestral', 'https://codestral.mistral.ai/v1', 'CODESTRAL_API_KEY'],
  ['groq', 'https://api.groq.com/openai/v1', 'GROQ_API_KEY'],
  ['deepseek', 'https://api.deepseek.com/beta', 'DEEPSEEK_API_KEY'],
  ['xai', 'https://api.x.ai/v1', 'XAI_API_KEY'],
  ['perplexity', 'https://api.perplexity.ai', 'PERPLEXITYAI_API_KEY'],
  [
    'together_ai',
    'https://api.together.xyz/v1',
    'TOGETHER_API_KEY',
    'TOGETHER_AI_API_KEY',
    'TOGETHERAI_API_KEY',
    'TOGETHER_AI_TOKEN',
  ],
  [
    'fireworks_ai',
    'https://api.fireworks.ai/inference/v1',
    'FIREWORKS_API_KEY',
    'FIREWORKS_AI_API_KEY',
    'FIREWORKSAI_API_KEY',
    'FIREWORKS_AI_TOKEN',
  ],
  ['openrouter', 'https://openrouter.ai/api/v1', 'OPENROUTER_API_KEY'],
  ['deepinfra', 'https://api.deepinfra.com/v1/openai', 'DEEPINFRA_API_KEY'],
  ['anyscale', 'https://api.endpoints.anyscale.com/v1', 'ANYSCALE_API_KEY'],
  ['nvidia_nim', 'https://integrate.api.nvidia.com/v1', 'NVIDIA_NIM_API_KEY'],
  ['cerebras', 'https://api.cerebras.ai/v1', 'CEREBRAS_API_KEY'],
  ['sambanova', 'https://api.sambanova.ai/v1', 'SAMBANOVA_API_KEY'],
  ['meta_llama', 'https://api.llama.com/compat/v1', 'LLAMA_API_KEY'],
  ['nebius', 'https://api.studio.nebius.ai/v1', 'NEBIUS_API_KEY'],
  ['ai21_chat', 'https://api.ai21.com/studio/v1', 'AI21_API_KEY'],
  ['ai21', 'https://api.ai21.com/studio/v1', 'AI21_API_KEY'],
  ['volcengine', 'https://ark.cn-beijing.volces.com/api/v3', 'VOLCENGINE_API_KEY'],
  ['dashscope', 'https://dashscope-intl.aliyuncs.com/compatible-mode/v1', 'DASHSCOPE_API_KEY'],
  ['moonshot', 'https://api.moonshot.ai/v1', 'MOONSHOT_API_KEY'],
  ['novita', 'https://api.novita.ai/v3/openai', 'NOVITA_API_KEY'],
  ['hyperbolic', 'https://api.hyperbolic.xyz/v1', 'HYPERBOLIC_API_KEY'],
  ['lambda_ai', 'https://api.lambda.ai/v1', 'LAMBDA_API_KEY'],
  ['featherless_ai', 'https://api.featherless.ai/v1', 'FEATHERLESS_AI_API_KEY'],
  ['nscale', 'https://inference.api.nscale.com/v1', 'NSCALE_API_KEY'],
  ['friendliai', 'https://api.friendli.ai/serverless/v1', 'FRIENDLIAI_API_KEY', 'FRIENDLI_TOKEN'],
  ['galadriel', 'https://api.galadriel.com/v1', 'GALADRIEL_API_KEY'],
  ['empower', 'https://app.empower.dev/api/v1', 'EMPOWER_API_KEY'],
  ['v0', 'https://api.v0.dev/v1', 'V0_API_KEY'],
  ['morph', 'https://api.morphllm.com/v1', 'MORPH_API_KEY'],
  ['github', 'https://models.inference.ai.azure.com', 'GITHUB_API_KEY'],
  ['github_copilot', 'https://api.githubcopilot.com', 'GITHUB_COPILOT_TOKEN'],
]

/** Those of the list above that have OpenAI's Responses API themselves. */
const HAS_RESPONSES: ReadonlySet<string> = new Set(['openai'])

const UNSERVED = [
  'anthropic',
  'anthropic_text',
  'azure_text',
  'baseten',
  'bedrock',
  'bytez',
  'clarifai',
  'cloudflare',
  'cohere',
  'cohere_chat',
  'cometapi',
  'databricks',
  'datarobot',
  'gemini',
  'gradient_ai',
  'huggingface',
  'jina_ai',
  'oci',
  'ollama',
  'ollama_chat',
  'palm',
  'predibase',
  'replicate',
  'sagemaker',
  'sagemaker_chat',
  'sap',
  'snowflake',
  'text-completion-openai',
  'triton',
  'vertex_ai',
  'vertex_ai_beta',
  'voyage',
  'watsonx',
  'watsonx_text',
  'xinference',
]

const CATALOG: ReadonlyMap<string, ProviderEntry> = new Map(
  [
    ...DEFAULT_BASES.map(([name, defaultBase, ...keyVariables]) =>
      entry(name, {
        defaultBase,
        keyVariables,
        ...(HAS_RESPONSES.has(name) ? { native: WITH_RESPONSES } : {}),
      }),
    ),
    entry('azure', {
      family: 'azure',
      native: WITH_RESPONSES,
      keyVariables: ['AZURE_API_KEY', 'AZURE_OPENAI_API_KEY'],
      baseVariables: ['AZURE_API_BASE'],
    }),
    entry('azure_ai', { keyVariables: ['AZURE_AI_API_KEY'], baseVariables: ['AZURE_AI_API_BASE'] }),
    entry('custom_openai', {}),
    entry('litellm_proxy', {
      keyVariables: ['LITELLM_PROXY_API_KEY'],
      baseVariables: ['LITELLM_PROXY_API_BASE'],
    }),
    entry('hosted_vllm', {
      isKeyOptional: true,
      keyVariables: ['HOSTED_VLLM_API_KEY'],
      baseVariables: ['HOSTED_VLLM_API_BASE'],
    }),
    // Their usual bases are on loopback, which a shared gateway must not offer to clients.
    entry('lm_studio', {
      isKeyOptional: true,
      keyVariables: ['LM_STUDIO_API_KEY'],
      baseVariables: ['LM_STUDIO_API_BASE'],
    }),
    entry('llamafile', {
      isKeyOptional: true,
      keyVariables: ['LLAMAFILE_API_KEY'],
      baseVariables: ['LLAMAFILE_API_BASE'],
    }),
    ...UNSERVED.map((name) => entry(name, { family: 'unserved' })),
  ].map((row) => [row.name, row]),
)

function entry(name: string, known: Partial<ProviderEntry>): ProviderEntry {
  return {
    name,
    family: 'openai',
    endpoints: OPENAI_SHAPED,
    native: OPENAI_NATIVE,
    authFields: [],
    defaultBase: null,
    isKeyOptional: false,
    keyVariables: [],
    baseVariables: [],
    ...known,
  }
}

/** A provider by its LiteLLM name. */
export function findProvider(name: string): ProviderEntry | null {
  return CATALOG.get(name) ?? null
}

/** Names of all providers this version can call. */
export function servedProviders(): string[] {
  return [...CATALOG.values()].filter(({ family }) => family !== 'unserved').map(({ name }) => name)
}

export type ResolvedModel =
  | { kind: 'resolved'; provider: ProviderEntry; model: string }
  | { kind: 'unresolved'; reason: string }

/**
 * Provider and upstream model of a `litellm_params.model`: its known prefix, else `openai`, or `azure` when an
 * `api_version` is given. Nothing is guessed from a base: guessing sends keys to strangers.
 */
export function resolveModel(
  written: string,
  hints: { customProvider?: string | undefined; apiVersion?: unknown } = {},
): ResolvedModel {
  const slash = written.indexOf('/')
  const prefix = slash === -1 ? null : written.slice(0, slash)
  if (hints.customProvider !== undefined) {
    const forced = findProvider(hints.customProvider)
    if (!forced)
      return { kind: 'unresolved', reason: `names the unknown provider "${hints.customProvider}".` }
    return named(forced, prefix === forced.name ? written.slice(slash + 1) : written)
  }
  if (prefix === null) {
    const provider = findProvider(hints.apiVersion === undefined ? 'openai' : 'azure')
    return provider ? named(provider, written) : { kind: 'unresolved', reason: 'has no provider.' }
  }
  const provider = findProvider(prefix)
  if (provider) return named(provider, written.slice(slash + 1))
  const reason = `starts with "${prefix.slice(0, 40)}/", which is no known provider. Write provider/model; for a server that speaks OpenAI's API, openai/model with its api_base.`
  return { kind: 'unresolved', reason }
}

function named(provider: ProviderEntry, model: string): ResolvedModel {
  if (model === '') return { kind: 'unresolved', reason: 'has no model after its provider.' }
  return { kind: 'resolved', provider, model: upstreamModel(provider, model) }
}

/** Fireworks takes short names in LiteLLM's form, its API only full ones. */
function upstreamModel(provider: ProviderEntry, model: string): string {
  if (provider.name !== 'fireworks_ai' || model.startsWith('accounts/') || model.includes('#')) return model
  return `accounts/fireworks/models/${model}`
}
