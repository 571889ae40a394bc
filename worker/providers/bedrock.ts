import { createAmazonBedrock } from '@ai-sdk/amazon-bedrock'
import type { JSONObject, JSONValue, LanguageModelV4CallOptions } from '@ai-sdk/provider'
import { bedrockBase } from '../../shared/settings/provider-hosts.ts'
import type { CredentialBundle } from '../../shared/schemas/plan.ts'
import type { Outbound } from '../outbound.ts'
import { hasEfforts, outputTokens, thinkingOf } from './anthropic.ts'
import { plainError } from './classify.ts'
import type { FamilySettings, ModelFamily, ModelTarget } from './model-call/family.ts'
import { objectIn, type Fields } from './model-call/fields.ts'
import { callModel } from './model-call/model-call.ts'
import type { Warnings } from './model-call/warnings.ts'
import { CALL_LIMITS, type CallLimits } from './openai-call.ts'
import type { CallOutcome, Provider } from './provider.ts'

/** Stands where the package wants a bearer key: the real one is put on by the fetch. */
const NO_KEY = 'put-on-when-sent'

/** Bedrock's Converse API, by a bearer key or by requests signed with AWS keys. */
export function createBedrock(outbound: Outbound, limits: CallLimits = CALL_LIMITS): Provider {
  return {
    async call(call) {
      const target = targetOf(call.bundle)
      return typeof target === 'string' ? refusal(target) : callModel(outbound, call, target, limits)
    },
  }
}

function refusal(message: string): CallOutcome {
  return { kind: 'error', error: plainError('bad_request', message) }
}

/** Whom to call how; a text says what is missing. */
function targetOf({
  api_base: base,
  api_key: key,
  auth = {},
  model,
}: CredentialBundle): ModelTarget | string {
  const { aws_access_key_id: id, aws_secret_access_key: secret, aws_session_token: session } = auth
  const region = auth['aws_region_name'] ?? regionOf(base)
  const baseURL = base ?? (region === undefined ? null : bedrockBase(region))
  if (region === undefined || baseURL === null) return 'Bedrock needs an aws_region_name.'
  const family = BEDROCK
  const place = { region, baseURL }
  if (key) {
    return {
      family,
      model: (fetch) => createAmazonBedrock({ ...place, apiKey: NO_KEY, fetch })(model),
      credential: { authorization: `Bearer ${key}` },
      secrets: [],
    }
  }
  if (!id || !secret) return 'Bedrock needs an api_key, or aws_access_key_id and aws_secret_access_key.'
  // An empty key, not none: for none the package takes a bearer key of the environment and signs nothing.
  const keys = { apiKey: '', accessKeyId: id, secretAccessKey: secret, sessionToken: session }
  return {
    family,
    model: (fetch) => createAmazonBedrock({ ...place, ...keys, fetch })(model),
    credential: null,
    secrets: [id, secret, ...(session === undefined ? [] : [session])],
  }
}

function regionOf(base: string | null): string | undefined {
  const host = URL.parse(base ?? '')?.hostname ?? ''
  return /^bedrock-runtime(?:-fips)?\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?$/.exec(host)?.[1]
}

/** Options of the Converse API that go as they are. */
const PASSED = ['guardrailConfig', 'performanceConfig', 'requestMetadata'] as const

/** Any model by Converse, which takes files that lie in S3 by their address. */
const BEDROCK: ModelFamily = {
  title: 'Bedrock',
  fields: ['thinking', 'parallel_tool_calls', 'additionalModelRequestFields', ...PASSED],
  settings: bedrockSettings,
  urlType: ({ protocol }, mediaType) => (protocol === 's3:' ? (mediaType ?? 'image') : null),
}

function bedrockSettings(
  body: Fields,
  common: LanguageModelV4CallOptions,
  warnings: Warnings,
): FamilySettings {
  const model = String(body['model'])
  const isClaude = model.includes('anthropic')
  const { topK, maxOutputTokens, responseFormat } = common
  if (responseFormat?.type === 'json' && !responseFormat.schema) warnings.leftOut('response_format')
  const isSerial = body['parallel_tool_calls'] === false
  if (isSerial && !isClaude) warnings.leftOut('parallel_tool_calls')
  const thinking = isClaude ? thinkingOf(body, common, model) : null
  if (!isClaude && body['thinking']) warnings.leftOut('thinking')
  const budget = thinking?.['type'] === 'enabled' ? Number(thinking['budgetTokens']) : 0
  const more = { ...objectIn(body, 'additionalModelRequestFields'), ...topKFields(topK, model) }
  const amazonBedrock: JSONObject = {
    // Bodies are parsed JSON, and so is what stands in them.
    ...(Object.keys(more).length > 0 ? { additionalModelRequestFields: more as JSONObject } : {}),
    ...(thinking ? { reasoningConfig: thinking } : {}),
    ...Object.fromEntries(PASSED.flatMap((name) => (body[name] ? [[name, body[name] as JSONValue]] : []))),
  }
  return {
    topK: undefined,
    ...(maxOutputTokens === undefined
      ? {}
      : { maxOutputTokens: outputTokens(maxOutputTokens, budget, model) }),
    ...(thinking || (isClaude && !hasEfforts(model)) ? { reasoning: undefined } : {}),
    providerOptions: { amazonBedrock, ...(isSerial ? { anthropic: { disableParallelToolUse: true } } : {}) },
  }
}

/**
 * Converse has no `topK` of its own, and each maker another place for it.
 * @see https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters.html
 */
function topKFields(topK: number | undefined, model: string): Fields {
  if (topK === undefined) return {}
  return model.includes('amazon.nova') ? { inferenceConfig: { topK } } : { top_k: topK }
}
