import type { JSONObject, SharedV4ProviderMetadata, SharedV4ProviderOptions } from '@ai-sdk/provider'
import { isObject } from '../error-body.ts'
import type { Fields } from './fields.ts'

/** A block of thinking in LiteLLM's form, which is Anthropic's: what a client must send back for the model to go on from it. */
export type ThinkingBlock =
  | { type: 'thinking'; thinking: string; signature: string }
  | { type: 'redacted_thinking'; data: string }

/**
 * What stands beside a part of a prompt, said for every provider at once: each package reads only its own names.
 * `cache_control` is Anthropic's mark for the prompt cache, which Bedrock has as a point of its own.
 */
export function partOptions(part: Fields): { providerOptions?: SharedV4ProviderOptions } {
  const control = part['cache_control']
  if (!isObject(control)) return {}
  const ttl = typeof control['ttl'] === 'string' ? { ttl: control['ttl'] } : {}
  return {
    providerOptions: {
      anthropic: { cacheControl: { type: 'ephemeral', ...ttl } },
      amazonBedrock: { cachePoint: { type: 'default', ...ttl } },
    },
  }
}

/** The same for thinking that goes back to the model. */
export function thinkingOptions(block: Fields): SharedV4ProviderOptions | null {
  const { signature, data } = block
  if (typeof signature === 'string') {
    const signed = { signature }
    return { anthropic: signed, amazonBedrock: signed, google: { thoughtSignature: signature } }
  }
  if (typeof data !== 'string') return null
  return { anthropic: { redactedData: data }, amazonBedrock: { redactedContent: data } }
}

/** Gemini's signature of a part, for the part that goes back. */
export function signedOptions(signature: unknown): { providerOptions?: SharedV4ProviderOptions } {
  return typeof signature === 'string' ? { providerOptions: { google: { thoughtSignature: signature } } } : {}
}

const NAMESPACES = ['anthropic', 'amazonBedrock', 'google'] as const

/** The signature of a part of an answer: of Claude's thinking, or of any part of Gemini's. */
export function signatureOf(metadata: SharedV4ProviderMetadata | undefined): string | null {
  return textIn(metadata, ['signature', 'thoughtSignature'])
}

/** Thinking that the provider keeps to itself. */
export function redactedOf(metadata: SharedV4ProviderMetadata | undefined): string | null {
  return textIn(metadata, ['redactedData', 'redactedContent'])
}

function textIn(metadata: SharedV4ProviderMetadata | undefined, names: readonly string[]): string | null {
  for (const namespace of NAMESPACES) {
    const fields: JSONObject | undefined = metadata?.[namespace]
    const value = names.map((name) => fields?.[name]).find((each) => typeof each === 'string')
    if (typeof value === 'string') return value
  }
  return null
}
