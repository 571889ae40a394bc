import { createGoogle } from '@ai-sdk/google'
import type { JSONArray, JSONObject, JSONValue, LanguageModelV4CallOptions } from '@ai-sdk/provider'
import type { Outbound } from '../outbound.ts'
import { plainError } from './classify.ts'
import { isObject } from './error-body.ts'
import type { FamilySettings, ModelFamily } from './model-call/family.ts'
import { objectIn, textIn, type Fields } from './model-call/fields.ts'
import { callModel } from './model-call/model-call.ts'
import { RequestFault } from './model-call/request-fault.ts'
import type { Warnings } from './model-call/warnings.ts'
import { CALL_LIMITS, type CallLimits } from './openai-call.ts'
import type { CallOutcome, Provider } from './provider.ts'

/** Stands where the package wants a key: the real one is put on by the fetch, and none is looked for in the environment. */
const NO_KEY = 'put-on-when-sent'

/** Gemini by Google AI Studio's API. */
export function createGemini(outbound: Outbound, limits: CallLimits = CALL_LIMITS): Provider {
  return {
    async call(call) {
      const { api_base: base, api_key: key, model } = call.bundle
      if (base === null) return refusal('The deployment has no api_base.')
      if (!key) return refusal('Gemini needs an api_key.')
      if (!isModelPath(model)) return refusal('The name of the model is none that Gemini has.')
      const target = {
        family: GEMINI,
        model: (fetch: typeof globalThis.fetch) =>
          gemini(model, { baseURL: versioned(base), fetch, isVertex: false }),
        credential: { 'x-goog-api-key': key },
        secrets: [],
      }
      return callModel(outbound, call, target, limits)
    },
  }
}

function refusal(message: string): CallOutcome {
  return { kind: 'error', error: plainError('bad_request', message) }
}

/** The package's model of Gemini. */
export function gemini(
  model: string,
  place: { baseURL: string; fetch: typeof globalThis.fetch; isVertex: boolean },
) {
  const { baseURL, fetch, isVertex } = place
  // By this name the package knows which of Google's two APIs it speaks to.
  const name = isVertex ? 'google.vertex.chat' : 'google.generative-ai'
  return createGoogle({ apiKey: NO_KEY, baseURL, fetch, name })(model)
}

/** Whether a model's name can stand in a path: the package puts it there as it is. */
export function isModelPath(model: string): boolean {
  return /^[\w.@-]+(?:\/[\w.@-]+)*$/.test(model) && !/(?:^|\/)\.{1,2}(?:\/|$)/.test(model)
}

function versioned(base: string): string {
  const trimmed = base.replace(/\/+$/, '')
  return /\/v\d\w*$/.test(trimmed) ? trimmed : `${trimmed}/v1beta`
}

/** Gemini, which fetches nothing but what lies at Google's. */
export const GEMINI: ModelFamily = {
  title: 'Gemini',
  fields: ['thinking', 'modalities', 'safety_settings', 'cached_content', 'media_resolution', 'labels'],
  settings: geminiSettings,
  urlType: ({ protocol, hostname, pathname }, mediaType) => {
    if (/^(?:(?:www\.)?youtube\.com|youtu\.be)$/.test(hostname)) return mediaType ?? 'video/mp4'
    const isFile = hostname === 'generativelanguage.googleapis.com' && pathname.includes('/files/')
    return isFile || protocol === 'gs:' ? mediaType : null
  },
}

/** What Gemini can be told besides what all models can, in LiteLLM's words. */
function geminiSettings(
  body: Fields,
  { reasoning }: LanguageModelV4CallOptions,
  warnings: Warnings,
): FamilySettings {
  const thinking = objectIn(body, 'thinking')
  const modalities = modalitiesOf(body, warnings)
  const google: JSONObject = {
    ...thinkingConfig(thinking, reasoning, String(body['model'])),
    ...(modalities ? { responseModalities: modalities } : {}),
    ...passed(body, 'safety_settings', 'safetySettings'),
    ...passed(body, 'cached_content', 'cachedContent'),
    ...passed(body, 'media_resolution', 'mediaResolution'),
    ...passed(body, 'labels', 'labels'),
  }
  return { ...(thinking ? { reasoning: undefined } : {}), providerOptions: { google } }
}

/**
 * Tokens to think with, for models that know no levels: Google's own numbers, where the package would take a part of all that
 * the model can say.
 * @see https://ai.google.dev/gemini-api/docs/openai#thinking
 */
const BUDGETS: Record<string, number> = {
  minimal: 1_024,
  low: 1_024,
  medium: 8_192,
  high: 24_576,
  xhigh: 24_576,
  max: 24_576,
}

/** Thoughts are asked for wherever thinking is: without it Gemini thinks, and bills, but tells nothing. */
function thinkingConfig(
  thinking: Fields | undefined,
  reasoning: LanguageModelV4CallOptions['reasoning'],
  model: string,
): JSONObject {
  if (!thinking) {
    if (reasoning === undefined || reasoning === 'none') return {}
    const thinkingBudget = model.includes('gemini-2.5') ? BUDGETS[reasoning] : undefined
    const budget = thinkingBudget === undefined ? {} : { thinkingBudget }
    return { thinkingConfig: { includeThoughts: true, ...budget } }
  }
  const { type, budget_tokens: budget } = thinking
  if (type === 'disabled') return { thinkingConfig: { thinkingBudget: 0 } }
  if (type !== 'enabled' && type !== 'adaptive') {
    throw new RequestFault('thinking.type is none that is known.', 'thinking')
  }
  const tokens = typeof budget === 'number' ? { thinkingBudget: budget } : {}
  return { thinkingConfig: { includeThoughts: true, ...tokens } }
}

function modalitiesOf(body: Fields, warnings: Warnings): JSONArray | null {
  const written = body['modalities']
  if (!Array.isArray(written)) return null
  // An answer in sound has no place in a chat completion of ours.
  if (written.includes('audio')) warnings.leftOut('modalities.audio')
  const names = written
    .filter((each) => each === 'text' || each === 'image')
    .map((each: string) => each.toUpperCase())
  return names.includes('IMAGE') ? names : null
}

/** A field that the package checks itself. */
function passed(body: Fields, name: string, option: string): JSONObject {
  const value = body[name]
  if (value === undefined || value === null) return {}
  // Bodies are parsed JSON.
  return {
    [option]: isObject(value) || Array.isArray(value) ? (value as JSONValue) : (textIn(body, name) ?? null),
  }
}
