import type { EndpointName } from '../../shared/jobs/endpoints.ts'
import type { ErrorClass } from '../../shared/schemas/error-class.ts'
import type { CredentialBundle, DroppedParams } from '../../shared/schemas/plan.ts'

/** Why a call failed, decided once where it is made. Safe to store and show: no key, no URL, no foreign HTML. */
export type ProviderError = {
  class: ErrorClass
  /** Provider's HTTP status; null when no answer came. */
  status: number | null
  /** The provider's own error in OpenAI's shape where its body had that shape, else ours. */
  message: string
  type: string
  param: string | null
  code: string | null
  /** Another try of the same deployment may help. */
  isRetryable: boolean
  /** What the provider asked us to wait, in all its header forms; null when it did not say. */
  retryAfterMs: number | null
  /** The request may have reached a model: the call may appear on the user's bill. */
  isPossiblyBilled: boolean
  /** Allow-listed headers of the answer, names in lower case; empty when there was none. */
  headers: Record<string, string>
}

/** Tokens as the provider counted them. */
export type TokenUsage = {
  input_tokens: number
  output_tokens: number
  total_tokens: number
  /** Part of the input that the provider had in its cache. */
  cached_input_tokens: number
}

export type ProviderReply = {
  status: number
  /** The provider's body byte for byte; of a streamed answer, what it would have been in one piece. */
  body: Buffer
  requestId: string | null
  usage: TokenUsage | null
  /** The provider's content filter ended the first choice. */
  isFiltered: boolean
  /** Allow-listed headers of the answer, names in lower case. */
  headers: Record<string, string>
  /** For so many milliseconds nothing is left, by the provider's rate headers; null: not said. */
  restMs: number | null
  /** What a translation could not say to the provider, or of its answer; for the job's `warnings`. */
  warnings?: string[]
}

/**
 * How a call ended. `partial` of a failed stream is what it had brought, in the form of a whole answer; null: nothing.
 */
export type CallOutcome =
  | { kind: 'reply'; reply: ProviderReply }
  | { kind: 'error'; error: ProviderError; partial?: Buffer | null }

/** Where the pieces of a streamed answer go. */
export type StreamSink = {
  /**
   * Takes one or more complete server-sent events, as bytes in the form of the call's endpoint, a `[DONE]` at the end where
   * that form has one. From the first write on the call can't be repeated elsewhere. It never waits: what can't be passed on
   * yet is kept, at most as much as the whole of a streamed answer may be.
   */
  write: (events: Uint8Array) => void
}

export type ProviderCall = {
  /** What the body is a request of. */
  endpoint: EndpointName
  bundle: CredentialBundle
  /** Pristine request body of the client, gateway fields taken out; `model` is still the client's. */
  body: Record<string, unknown>
  /** Parameters the request wants taken out; the bundle has its own. */
  drop: DroppedParams | null
  /** Hard cap of this one call, in milliseconds; of a streamed one until its first byte, and between two pieces. */
  timeoutMs: number
  /** Cancel, deadline, a lost lease: the call is given up at once. */
  signal: AbortSignal
  /** Null: the answer is wanted in one piece. */
  sink: StreamSink | null
}

/**
 * One family of providers. Never throws for what the network or the provider does: that is an outcome.
 * An abort by `signal` is `{ kind: 'error' }` with class `timeout` or `api_connection`; the caller knows its own reason.
 */
export type Provider = { call: (call: ProviderCall) => Promise<CallOutcome> }
