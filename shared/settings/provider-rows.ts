import type { EndpointName } from '../jobs/endpoints.ts'
import type { ProviderEntry } from './provider-catalog.ts'
import { bedrockBase, cloudflareBase, snowflakeBase, vertexBase } from './provider-hosts.ts'

/** A provider's row: its name, what its API has itself, and in what it differs from a bearer key at OpenAI's paths. */
export type ProviderRow = Partial<ProviderEntry> & { name: string; native: readonly EndpointName[] }

const CHAT: readonly EndpointName[] = ['chat']
const WITH_COMPLETIONS: readonly EndpointName[] = ['chat', 'completions']
const WITH_EMBEDDINGS: readonly EndpointName[] = ['chat', 'embeddings']
const WITH_BOTH: readonly EndpointName[] = ['chat', 'completions', 'embeddings']
/** Also a server of unknown make is asked for these: it says itself what it has not. */
const ANY_SERVER: readonly EndpointName[] = ['chat', 'completions', 'embeddings', 'moderations']
const OPENAI: readonly EndpointName[] = ['chat', 'completions', 'embeddings', 'moderations', 'responses']

type Hosted = [name: string, native: readonly EndpointName[], defaultBase: string, ...keyVariables: string[]]

/** Those that speak OpenAI's API at one address for everybody, with a bearer key. */
const HOSTED: Hosted[] = [
  ['openai', OPENAI, 'https://api.openai.com/v1', 'OPENAI_API_KEY'],
  ['text-completion-openai', ['completions'], 'https://api.openai.com/v1', 'OPENAI_API_KEY'],
  ['mistral', ['chat', 'embeddings', 'moderations'], 'https://api.mistral.ai/v1', 'MISTRAL_API_KEY'],
  ['codestral', CHAT, 'https://codestral.mistral.ai/v1', 'CODESTRAL_API_KEY'],
  ['cohere', WITH_EMBEDDINGS, 'https://api.cohere.ai/compatibility/v1', 'COHERE_API_KEY', 'CO_API_KEY'],
  ['cohere_chat', WITH_EMBEDDINGS, 'https://api.cohere.ai/compatibility/v1', 'COHERE_API_KEY', 'CO_API_KEY'],
  ['groq', CHAT, 'https://api.groq.com/openai/v1', 'GROQ_API_KEY'],
  ['deepseek', WITH_COMPLETIONS, 'https://api.deepseek.com/beta', 'DEEPSEEK_API_KEY'],
  ['xai', CHAT, 'https://api.x.ai/v1', 'XAI_API_KEY'],
  ['perplexity', CHAT, 'https://api.perplexity.ai', 'PERPLEXITYAI_API_KEY'],
  [
    'together_ai',
    WITH_BOTH,
    'https://api.together.xyz/v1',
    'TOGETHER_API_KEY',
    'TOGETHER_AI_API_KEY',
    'TOGETHERAI_API_KEY',
    'TOGETHER_AI_TOKEN',
  ],
  [
    'fireworks_ai',
    WITH_BOTH,
    'https://api.fireworks.ai/inference/v1',
    'FIREWORKS_API_KEY',
    'FIREWORKS_AI_API_KEY',
    'FIREWORKSAI_API_KEY',
    'FIREWORKS_AI_TOKEN',
  ],
  ['openrouter', WITH_BOTH, 'https://openrouter.ai/api/v1', 'OPENROUTER_API_KEY'],
  ['deepinfra', WITH_BOTH, 'https://api.deepinfra.com/v1/openai', 'DEEPINFRA_API_KEY'],
  ['huggingface', CHAT, 'https://router.huggingface.co/v1', 'HF_TOKEN', 'HUGGINGFACE_API_KEY'],
  ['github', WITH_EMBEDDINGS, 'https://models.github.ai/inference', 'GITHUB_API_KEY'],
  ['github_copilot', CHAT, 'https://api.githubcopilot.com', 'GITHUB_COPILOT_TOKEN'],
  ['anyscale', WITH_COMPLETIONS, 'https://api.endpoints.anyscale.com/v1', 'ANYSCALE_API_KEY'],
  ['nvidia_nim', WITH_BOTH, 'https://integrate.api.nvidia.com/v1', 'NVIDIA_NIM_API_KEY'],
  ['cerebras', WITH_COMPLETIONS, 'https://api.cerebras.ai/v1', 'CEREBRAS_API_KEY'],
  ['sambanova', WITH_EMBEDDINGS, 'https://api.sambanova.ai/v1', 'SAMBANOVA_API_KEY'],
  ['meta_llama', CHAT, 'https://api.llama.com/compat/v1', 'LLAMA_API_KEY'],
  ['nebius', WITH_BOTH, 'https://api.studio.nebius.ai/v1', 'NEBIUS_API_KEY'],
  ['ai21_chat', CHAT, 'https://api.ai21.com/studio/v1', 'AI21_API_KEY'],
  ['ai21', CHAT, 'https://api.ai21.com/studio/v1', 'AI21_API_KEY'],
  ['volcengine', WITH_EMBEDDINGS, 'https://ark.cn-beijing.volces.com/api/v3', 'VOLCENGINE_API_KEY'],
  [
    'dashscope',
    WITH_EMBEDDINGS,
    'https://dashscope-intl.aliyuncs.com/compatible-mode/v1',
    'DASHSCOPE_API_KEY',
  ],
  ['moonshot', CHAT, 'https://api.moonshot.ai/v1', 'MOONSHOT_API_KEY'],
  ['novita', WITH_BOTH, 'https://api.novita.ai/v3/openai', 'NOVITA_API_KEY'],
  ['hyperbolic', WITH_COMPLETIONS, 'https://api.hyperbolic.xyz/v1', 'HYPERBOLIC_API_KEY'],
  ['lambda_ai', WITH_COMPLETIONS, 'https://api.lambda.ai/v1', 'LAMBDA_API_KEY'],
  ['featherless_ai', WITH_COMPLETIONS, 'https://api.featherless.ai/v1', 'FEATHERLESS_AI_API_KEY'],
  ['nscale', CHAT, 'https://inference.api.nscale.com/v1', 'NSCALE_API_KEY'],
  [
    'friendliai',
    WITH_COMPLETIONS,
    'https://api.friendli.ai/serverless/v1',
    'FRIENDLIAI_API_KEY',
    'FRIENDLI_TOKEN',
  ],
  ['galadriel', CHAT, 'https://api.galadriel.com/v1', 'GALADRIEL_API_KEY'],
  ['empower', CHAT, 'https://app.empower.dev/api/v1', 'EMPOWER_API_KEY'],
  ['v0', CHAT, 'https://api.v0.dev/v1', 'V0_API_KEY'],
  ['morph', CHAT, 'https://api.morphllm.com/v1', 'MORPH_API_KEY'],
  ['baseten', CHAT, 'https://inference.baseten.co/v1', 'BASETEN_API_KEY'],
  ['gradient_ai', CHAT, 'https://inference.do-ai.run/v1', 'GRADIENT_AI_API_KEY'],
  ['cometapi', CHAT, 'https://api.cometapi.com/v1', 'COMETAPI_KEY', 'COMETAPI_API_KEY'],
  ['aiml', CHAT, 'https://api.aimlapi.com/v1', 'AIML_API_KEY'],
  ['zai', CHAT, 'https://api.z.ai/api/paas/v4', 'ZAI_API_KEY'],
  ['minimax', CHAT, 'https://api.minimax.io/v1', 'MINIMAX_API_KEY'],
  ['vercel_ai_gateway', WITH_EMBEDDINGS, 'https://ai-gateway.vercel.sh/v1', 'VERCEL_AI_GATEWAY_API_KEY'],
  ['helicone', CHAT, 'https://ai-gateway.helicone.ai', 'HELICONE_API_KEY'],
  ['wandb', CHAT, 'https://api.inference.wandb.ai/v1', 'WANDB_API_KEY'],
  ['ovhcloud', CHAT, 'https://oai.endpoints.kepler.ai.cloud.ovh.net/v1', 'OVHCLOUD_API_KEY'],
  ['scaleway', WITH_EMBEDDINGS, 'https://api.scaleway.ai/v1', 'SCW_SECRET_KEY'],
  ['inception', CHAT, 'https://api.inceptionlabs.ai/v1', 'INCEPTION_API_KEY'],
  ['compactifai', CHAT, 'https://api.compactif.ai/v1', 'COMPACTIFAI_API_KEY'],
  ['publicai', CHAT, 'https://api.publicai.co/v1', 'PUBLICAI_API_KEY'],
  ['veniceai', CHAT, 'https://api.venice.ai/api/v1', 'VENICE_AI_API_KEY'],
  ['synthetic', CHAT, 'https://api.synthetic.new/openai/v1', 'SYNTHETIC_API_KEY'],
  ['nano-gpt', CHAT, 'https://nano-gpt.com/api/v1', 'NANOGPT_API_KEY'],
  ['poe', CHAT, 'https://api.poe.com/v1', 'POE_API_KEY'],
  ['chutes', CHAT, 'https://llm.chutes.ai/v1', 'CHUTES_API_KEY'],
  ['voyage', ['embeddings'], 'https://api.voyageai.com/v1', 'VOYAGE_API_KEY'],
  ['jina_ai', ['embeddings'], 'https://api.jina.ai/v1', 'JINA_AI_API_KEY'],
]

/** Servers that speak OpenAI's API wherever somebody runs them. Usual bases on loopback are none: a shared gateway must not offer them. */
const OWN_BASE: ProviderRow[] = [
  { name: 'custom_openai', native: ANY_SERVER },
  { name: 'litellm_proxy', native: ANY_SERVER, ...variables('LITELLM_PROXY') },
  { name: 'azure_ai', native: WITH_BOTH, ...variables('AZURE_AI') },
  { name: 'hosted_vllm', native: ANY_SERVER, isKeyOptional: true, ...variables('HOSTED_VLLM') },
  { name: 'lm_studio', native: WITH_BOTH, isKeyOptional: true, ...variables('LM_STUDIO') },
  { name: 'llamafile', native: WITH_BOTH, isKeyOptional: true, ...variables('LLAMAFILE') },
  { name: 'xinference', native: WITH_BOTH, isKeyOptional: true, ...variables('XINFERENCE') },
  { name: 'ollama', native: WITH_BOTH, isKeyOptional: true, basePath: '/v1', ...variables('OLLAMA') },
  { name: 'ollama_chat', native: WITH_BOTH, isKeyOptional: true, basePath: '/v1', ...variables('OLLAMA') },
  { name: 'databricks', native: WITH_BOTH, basePath: '/serving-endpoints', ...variables('DATABRICKS') },
]

const AZURE_CREDENTIALS: Partial<ProviderEntry> = {
  family: 'azure',
  credentials: [
    { fields: ['api_key'] },
    { fields: ['azure_ad_token'] },
    { fields: ['tenant_id', 'client_id', 'client_secret'], with: ['azure_scope'] },
  ],
  keyVariables: ['AZURE_API_KEY', 'AZURE_OPENAI_API_KEY'],
  baseVariables: ['AZURE_API_BASE'],
  authVariables: {
    azure_ad_token: ['AZURE_AD_TOKEN'],
    tenant_id: ['AZURE_TENANT_ID'],
    client_id: ['AZURE_CLIENT_ID'],
    client_secret: ['AZURE_CLIENT_SECRET'],
    azure_scope: ['AZURE_SCOPE'],
  },
}

const VERTEX: Partial<ProviderEntry> = {
  family: 'vertex',
  credentials: [{ fields: ['vertex_credentials'] }],
  places: ['vertex_project', 'vertex_location'],
  needs: ['vertex_project', 'vertex_location'],
  placeBase: { field: 'vertex_location', make: vertexBase },
  authVariables: {
    vertex_credentials: ['VERTEXAI_CREDENTIALS', 'GOOGLE_APPLICATION_CREDENTIALS'],
    vertex_project: ['VERTEXAI_PROJECT', 'GOOGLE_CLOUD_PROJECT'],
    vertex_location: ['VERTEXAI_LOCATION', 'GOOGLE_CLOUD_LOCATION'],
  },
}

/** Those with more than one key, hosts made of places, or an API of their own. */
const OTHERS: ProviderRow[] = [
  { name: 'azure', native: ['chat', 'completions', 'embeddings', 'responses'], ...AZURE_CREDENTIALS },
  { name: 'azure_text', native: ['completions'], ...AZURE_CREDENTIALS },
  {
    name: 'anthropic',
    family: 'anthropic',
    native: ['chat', 'messages'],
    defaultBase: 'https://api.anthropic.com',
    keyVariables: ['ANTHROPIC_API_KEY'],
  },
  {
    name: 'gemini',
    family: 'gemini',
    native: CHAT,
    defaultBase: 'https://generativelanguage.googleapis.com',
    keyVariables: ['GEMINI_API_KEY', 'GOOGLE_API_KEY'],
  },
  { name: 'vertex_ai', native: CHAT, ...VERTEX },
  { name: 'vertex_ai_beta', native: CHAT, ...VERTEX },
  {
    name: 'bedrock',
    family: 'bedrock',
    native: CHAT,
    credentials: [
      { fields: ['api_key'] },
      { fields: ['aws_access_key_id', 'aws_secret_access_key'], with: ['aws_session_token'] },
    ],
    places: ['aws_region_name'],
    needs: ['aws_region_name'],
    placeBase: { field: 'aws_region_name', make: bedrockBase },
    keyVariables: ['AWS_BEARER_TOKEN_BEDROCK'],
    authVariables: {
      aws_access_key_id: ['AWS_ACCESS_KEY_ID'],
      aws_secret_access_key: ['AWS_SECRET_ACCESS_KEY'],
      aws_session_token: ['AWS_SESSION_TOKEN'],
      aws_region_name: ['AWS_REGION_NAME', 'AWS_REGION', 'AWS_DEFAULT_REGION'],
    },
  },
  {
    name: 'cloudflare',
    native: WITH_EMBEDDINGS,
    places: ['account_id'],
    placeBase: { field: 'account_id', make: cloudflareBase },
    keyVariables: ['CLOUDFLARE_API_KEY'],
    authVariables: { account_id: ['CLOUDFLARE_ACCOUNT_ID'] },
  },
  {
    name: 'snowflake',
    native: CHAT,
    places: ['account_id'],
    placeBase: { field: 'account_id', make: snowflakeBase },
    isPlacePrivate: true,
    keyVariables: ['SNOWFLAKE_JWT'],
    authVariables: { account_id: ['SNOWFLAKE_ACCOUNT_ID'] },
  },
]

const COMPATIBLE =
  "A server that speaks OpenAI's API is called as `openai/<model>` with its `api_base` and `api_key`."

const WATSONX =
  "Its own API is not OpenAI's. Its model gateway is: `openai/<model>` with the `api_base` `https://<region>.ml.cloud.ibm.com/ml/gateway/v1`."

/** Those that LiteLLM knows and this gateway can't call, and what to do instead. */
const UNSERVED: [name: string, advice: string][] = [
  ['anthropic_text', 'Write `anthropic/<model>`.'],
  ['watsonx', WATSONX],
  ['watsonx_text', WATSONX],
  ['replicate', `Predictions are not served. ${COMPATIBLE}`],
  ['sagemaker', `Endpoints signed with AWS keys are served for Bedrock only. ${COMPATIBLE}`],
  ['sagemaker_chat', `Endpoints signed with AWS keys are served for Bedrock only. ${COMPATIBLE}`],
  ['palm', 'Write `gemini/<model>`.'],
  ...['bytez', 'clarifai', 'datarobot', 'oci', 'predibase', 'sap', 'text-completion-codestral', 'triton'].map(
    (name) => [name, COMPATIBLE] as [string, string],
  ),
]

/** The whole catalog, in the order of docs/providers.md. */
export const PROVIDER_ROWS: readonly ProviderRow[] = [
  ...HOSTED.map(([name, native, defaultBase, ...keyVariables]) => ({
    name,
    native,
    defaultBase,
    keyVariables,
  })),
  ...OWN_BASE,
  ...OTHERS,
  ...UNSERVED.map(([name, advice]) => ({ name, native: [], family: 'unserved' as const, advice })),
]

function variables(prefix: string): Pick<ProviderEntry, 'keyVariables' | 'baseVariables'> {
  return { keyVariables: [`${prefix}_API_KEY`], baseVariables: [`${prefix}_API_BASE`] }
}
