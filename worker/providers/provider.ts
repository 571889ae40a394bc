import type { ErrorClass } from '../../shared/schemas/error-class.ts'
import type { CredentialBundle } from '../../shared/schemas/plan.ts'

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
}

export type ProviderReply = {
  status: number
  /** The provider's body byte for byte. */
  body: Buffer
  requestId: string | null
  /** Tokens as the provider counted them. */
  usage: { input_tokens: number; output_tokens: number; total_tokens: number } | null
}

export type CallOutcome = { kind: 'reply'; reply: ProviderReply } | { kind: 'error'; error: ProviderError }

export type ProviderCall = {
  bundle: CredentialBundle
  /** Pristine request body of the client, gateway fields taken out; `model` is still the client's. */
  body: Record<string, unknown>
  /** Hard cap of this one call, in milliseconds. */
  timeoutMs: number
  /** Cancel, deadline, a lost lease: the call is given up at once. */
  signal: AbortSignal
}

/**
 * One family of providers. Never throws for what the network or the provider does: that is an outcome.
 * An abort by `signal` is `{ kind: 'error' }` with class `timeout` or `api_connection`; the caller knows its own reason.
 */
export type Provider = { chat: (call: ProviderCall) => Promise<CallOutcome> }
