import { isObject } from './error-body.ts'
import type { ProviderReply } from './provider.ts'

/** Tokens of a completion in OpenAI's words (`prompt_tokens`) or the newer ones (`input_tokens`); null when not told. */
export function readUsage(completion: Record<string, unknown>): ProviderReply['usage'] {
  const { usage } = completion
  if (!isObject(usage)) return null
  const input = count(usage['prompt_tokens']) ?? count(usage['input_tokens'])
  const output = count(usage['completion_tokens']) ?? count(usage['output_tokens'])
  const total = count(usage['total_tokens'])
  if (input === null && output === null && total === null) return null
  const sum = (input ?? 0) + (output ?? 0)
  const details = usage['prompt_tokens_details'] ?? usage['input_tokens_details']
  const cached = isObject(details) ? (count(details['cached_tokens']) ?? 0) : 0
  return {
    input_tokens: input ?? 0,
    output_tokens: output ?? 0,
    total_tokens: total ?? sum,
    cached_input_tokens: cached,
  }
}

function count(value: unknown): number | null {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 ? value : null
}
