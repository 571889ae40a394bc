import { isObject } from '../providers/error-body.ts'
import { isText } from './json-values.ts'

type JsonObject = Record<string, unknown>

const MARK = '__thought__'
const MARKED = new RegExp(`^(.+)${MARK}([\\w-]+)$`)

/**
 * Gemini signs its calls and refuses a conversation in which a signature is missing. Neither a response nor a message has a
 * place for one: it goes with the id of the call, which clients send back as they got it. LiteLLM does the same.
 *
 * @see https://ai.google.dev/gemini-api/docs/thought-signatures
 */
export function signCallId(id: string, signature: string): string {
  return signature === '' ? id : `${id}${MARK}${Buffer.from(signature).toString('base64url')}`
}

/** The id as the provider gave it. */
export function plainCallId(id: unknown): unknown {
  return typeof id === 'string' ? (MARKED.exec(id)?.[1] ?? id) : id
}

/** A call of a chat by its id, with its signature where Google's own chat completions have it. */
export function chatCall(id: unknown, called: { name: unknown; arguments: unknown }): JsonObject {
  const encoded = typeof id === 'string' ? MARKED.exec(id)?.[2] : undefined
  const call = { id: plainCallId(id), type: 'function', function: called }
  if (encoded === undefined) return call
  const thought_signature = Buffer.from(encoded, 'base64url').toString()
  return { ...call, extra_content: { google: { thought_signature } } }
}

/** The signature of a call of a chat, by Google's name or LiteLLM's; empty: none. */
export function signatureOfCall({
  extra_content: extra,
  provider_specific_fields: fields,
}: JsonObject): string {
  const google = isObject(extra) && isObject(extra['google']) ? extra['google'] : {}
  const said = [google['thought_signature'], isObject(fields) ? fields['thought_signature'] : null]
  return said.find(isText) ?? ''
}
