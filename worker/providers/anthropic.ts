import { AnthropicMessagesLanguageModel, getModelCapabilities } from '@ai-sdk/anthropic/internal'
import type { JSONObject, LanguageModelV4CallOptions } from '@ai-sdk/provider'
import type { CredentialBundle } from '../../shared/schemas/plan.ts'
import type { Outbound } from '../outbound.ts'
import { plainError } from './classify.ts'
import { isObject, parseJson } from './error-body.ts'
import type { FamilySettings, ModelFamily } from './model-call/family.ts'
import { objectIn, textIn, type Fields } from './model-call/fields.ts'
import { callModel } from './model-call/model-call.ts'
import { RequestFault } from './model-call/request-fault.ts'
import type { Warnings } from './model-call/warnings.ts'
import { appendPath, CALL_LIMITS, postOpenai, type CallLimits } from './openai-call.ts'
import type { CallOutcome, Provider, ProviderCall, TokenUsage } from './provider.ts'

const VERSION = '2023-06-01'
const MESSAGES = '/v1/messages'
/** As much as any Claude can say, the oldest included. */
const OUTPUT_TOKENS_DEFAULT = 4_096
/** A model that can say more is not let run further than this unasked. */
const OUTPUT_TOKENS_DEFAULT_MAX = 32_000

/** Anthropic's Messages API: its own requests as they are, chat completions by its package. */
export function createAnthropic(outbound: Outbound, limits: CallLimits = CALL_LIMITS): Provider {
  return {
    async call(call) {
      const { api_base: base, api_key: key } = call.bundle
      if (base === null) return refusal('The deployment has no api_base.')
      if (!key) return refusal('Anthropic needs an api_key.')
      const credential = credentialOf(key)
      const url = messagesUrl(base)
      if (call.endpoint === 'messages') return postMessages(outbound, call, { url, credential }, limits)
      const model = (fetch: typeof globalThis.fetch) => claude(call.bundle, { url: () => url, fetch })
      return callModel(outbound, call, { family: CLAUDE, model, credential, secrets: [] }, limits)
    },
  }
}

function refusal(message: string): CallOutcome {
  return { kind: 'error', error: plainError('bad_request', message) }
}

/** A subscription's token is a bearer, which takes no part in the keys' header. */
function credentialOf(key: string): Record<string, string> {
  return key.startsWith('sk-ant-oat') ? { authorization: `Bearer ${key}` } : { 'x-api-key': key }
}

function messagesUrl(base: string): string {
  return appendPath(base.replace(/\/v1\/*$/, ''), MESSAGES)
}

/** Anthropic's own request, answered byte for byte. */
async function postMessages(
  outbound: Outbound,
  call: ProviderCall,
  target: { url: string; credential: Record<string, string> },
  limits: CallLimits,
): Promise<CallOutcome> {
  const lowered = Object.entries(call.bundle.headers).map(([name, value]) => [name.toLowerCase(), value])
  const headers: Record<string, string> = { 'anthropic-version': VERSION, ...Object.fromEntries(lowered) }
  // What its SDK sends as a header came here in the body.
  const { anthropic_beta: betas, ...body } = call.body
  const named = [headers['anthropic-beta'], betas]
    .flat()
    .filter((name) => typeof name === 'string' && name !== '')
  if (named.length > 0) headers['anthropic-beta'] = named.join(',')
  // One of the two would be a second credential.
  delete headers['authorization' in target.credential ? 'x-api-key' : 'authorization']
  const own = { ...call, body, bundle: { ...call.bundle, headers } }
  const outcome = await postOpenai(outbound, own, target, limits)
  if (outcome.kind === 'error') return outcome
  return { kind: 'reply', reply: { ...outcome.reply, usage: messageUsage(outcome.reply.body) } }
}

/** Tokens of a message. Unlike OpenAI, Anthropic tells cached input beside `input_tokens`, not as a part of them. */
function messageUsage(body: Buffer): TokenUsage | null {
  const message = parseJson(body)
  const usage = isObject(message) ? message['usage'] : null
  if (!isObject(usage)) return null
  const count = (name: string) => {
    const value = usage[name]
    return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 ? value : 0
  }
  const cached = count('cache_read_input_tokens')
  const input = count('input_tokens') + count('cache_creation_input_tokens') + cached
  const output = count('output_tokens')
  return {
    input_tokens: input,
    output_tokens: output,
    total_tokens: input + output,
    cached_input_tokens: cached,
  }
}

/**
 * The package's model of Claude. The credential is put on by the fetch, so that none is ever looked for in the environment.
 * @param place.url Where a request goes.
 * @param place.body What becomes of its body; as it is when absent.
 */
export function claude(
  { model }: Pick<CredentialBundle, 'model'>,
  place: {
    url: (isStreaming: boolean) => string
    fetch: typeof globalThis.fetch
    body?: (body: Fields) => Fields
    headers?: (headers: Record<string, string | undefined>) => Record<string, string | undefined>
    /** The place takes schemas and strict tools; where not, a forced tool stands for a schema. */
    hasSchemas?: boolean
  },
): AnthropicMessagesLanguageModel {
  const { url, fetch, body, headers, hasSchemas = true } = place
  return new AnthropicMessagesLanguageModel(model, {
    provider: 'anthropic.messages',
    baseURL: '',
    headers: { 'anthropic-version': VERSION },
    fetch,
    buildRequestUrl: (_base, isStreaming) => url(isStreaming),
    ...(body ? { transformRequestBody: body } : {}),
    ...(headers ? { transformRequestHeaders: headers } : {}),
    supportsNativeStructuredOutput: hasSchemas,
    supportsStrictTools: hasSchemas,
  })
}

/** Claude at Anthropic's, which fetches images and documents over https by itself. */
export const CLAUDE: ModelFamily = {
  title: 'Anthropic',
  fields: [
    'user',
    'metadata',
    'thinking',
    'parallel_tool_calls',
    'service_tier',
    'cache_control',
    'output_config',
  ],
  settings: claudeSettings,
  urlType: ({ protocol }, mediaType) => {
    if (protocol !== 'https:') return null
    if (mediaType === null) return 'image'
    return /^image\/|^application\/pdf$/.test(mediaType) ? mediaType : null
  },
}

/** Anthropic's own; OpenAI's `flex` and `priority` are none of them. */
const TIERS = ['auto', 'standard_only'] as const

/** What Claude can be told besides what all models can, in LiteLLM's words and Anthropic's own. */
function claudeSettings(
  body: Fields,
  common: LanguageModelV4CallOptions,
  warnings: Warnings,
): FamilySettings {
  const model = String(body['model'])
  const thinking = thinkingOf(body, common, model)
  const budget = thinking?.['type'] === 'enabled' ? Number(thinking['budgetTokens']) : 0
  const metadata = objectIn(body, 'metadata')
  const user = textIn(metadata ?? {}, 'user_id') ?? textIn(body, 'user')
  if (metadata && Object.keys(metadata).some((name) => name !== 'user_id')) warnings.leftOut('metadata')
  const tier = TIERS.find((each) => each === body['service_tier'])
  if (body['service_tier'] && !tier) warnings.leftOut('service_tier')
  const effort = textIn(objectIn(body, 'output_config') ?? {}, 'effort')
  const control = objectIn(body, 'cache_control')
  const anthropic: JSONObject = {
    // The package's own default is a header of a test phase for every tool.
    toolStreaming: false,
    ...(thinking ? { thinking } : {}),
    ...(effort === undefined ? {} : { effort }),
    ...(user === undefined ? {} : { metadata: { userId: user } }),
    ...(body['parallel_tool_calls'] === false ? { disableParallelToolUse: true } : {}),
    ...(tier ? { serviceTier: tier } : {}),
    ...(control
      ? { cacheControl: { type: 'ephemeral', ...(control['ttl'] === '1h' ? { ttl: '1h' } : {}) } }
      : {}),
  }
  return {
    maxOutputTokens: outputTokens(common.maxOutputTokens, budget, model),
    // Models that know efforts get them from the package; for the others they have become a budget, or nothing.
    ...(thinking || !hasEfforts(model) ? { reasoning: undefined } : {}),
    providerOptions: { anthropic },
  }
}

/**
 * How many tokens the model may say besides its thinking, which the package adds. Without a limit of the request's own it would
 * send 64,000 for models that it knows and 128,000 for others, which many refuse.
 */
export function outputTokens(asked: number | undefined, budget: number, model: string): number {
  const { isKnownModel, maxOutputTokens } = getModelCapabilities(model)
  if (asked === undefined) {
    return isKnownModel ? Math.min(maxOutputTokens, OUTPUT_TOKENS_DEFAULT_MAX) : OUTPUT_TOKENS_DEFAULT
  }
  // Anthropic counts thinking within the limit. A limit that leaves nothing for the answer is meant for the answer.
  return asked > budget ? asked - budget : asked
}

/** Tokens to think with, where a model knows no efforts: LiteLLM's numbers, at least what Anthropic takes. */
const BUDGETS: Record<string, number> = {
  minimal: 1_024,
  low: 1_024,
  medium: 2_048,
  high: 4_096,
  xhigh: 8_192,
  max: 16_384,
}

/** How much Claude is to think: as it is written, or a budget for an effort where a model knows none. */
export function thinkingOf(
  body: Fields,
  { reasoning }: LanguageModelV4CallOptions,
  model: string,
): JSONObject | null {
  const written = objectIn(body, 'thinking')
  if (written) return writtenThinking(written)
  const budgetTokens = reasoning === undefined || hasEfforts(model) ? undefined : BUDGETS[reasoning]
  return budgetTokens === undefined ? null : { type: 'enabled', budgetTokens }
}

/** Whether a Claude takes an effort itself. */
export function hasEfforts(model: string): boolean {
  return getModelCapabilities(model).supportsAdaptiveThinking
}

function writtenThinking({ type, budget_tokens: budget, display }: Fields): JSONObject {
  if (type === 'adaptive') return { type, ...(typeof display === 'string' ? { display } : {}) }
  if (type === 'disabled') return { type }
  if (type === 'enabled') return { type, budgetTokens: typeof budget === 'number' ? budget : 1_024 }
  throw new RequestFault('thinking.type is none that is known.', 'thinking')
}
