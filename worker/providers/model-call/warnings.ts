import type { SharedV4Warning } from '@ai-sdk/provider'

/** Names of the packages' settings that a client knows by another. */
const NAMES: Record<string, string> = {
  maxOutputTokens: 'max_tokens',
  topP: 'top_p',
  topK: 'top_k',
  frequencyPenalty: 'frequency_penalty',
  presencePenalty: 'presence_penalty',
  stopSequences: 'stop',
  responseFormat: 'response_format',
  toolChoice: 'tool_choice',
  reasoning: 'reasoning_effort',
}

/** Collects what of a request or an answer could not be said; names only, never values. */
export type Warnings = {
  /** A field that the provider has no word for. */
  leftOut: (name: string) => void
  /** Something else, as a sentence. */
  say: (sentence: string) => void
  /** What a provider's package had to change. */
  addAll: (warnings: readonly SharedV4Warning[]) => void
  all: () => string[]
}

/** @param isSilent The client has asked to drop what the provider does not take. */
export function createWarnings(provider: string, isSilent: boolean): Warnings {
  const sentences = new Set<string>()
  function leftOut(name: string): void {
    if (!isSilent) sentences.add(`${name}: ${provider} has nothing like it; it was left out.`)
  }
  return {
    leftOut,
    say: (sentence) => void sentences.add(sentence),
    addAll(warnings) {
      for (const warning of warnings) {
        if (warning.type === 'other' || warning.type === 'deprecated') {
          sentences.add(withoutValues(warning.message))
        } else if (!isSilent) {
          const name = NAMES[warning.feature] ?? withoutValues(warning.feature)
          sentences.add(`${name}: this model does not take it as it was given; it was changed or left out.`)
        }
      }
    },
    all: () => [...sentences],
  }
}

/** Packages quote names that a client has made up. */
function withoutValues(message: string): string {
  return message.replaceAll(/(['"`]).*?\1/gs, '…').slice(0, 200)
}
