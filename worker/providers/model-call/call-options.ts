import type { LanguageModelV4CallOptions, LanguageModelV4Prompt } from '@ai-sdk/provider'
import type { ModelFamily } from './family.ts'
import { numberIn, type Fields } from './fields.ts'
import { RequestFault } from './request-fault.ts'
import { responseFormat, toolSettings } from './tools.ts'
import type { Warnings } from './warnings.ts'

/** Fields of a chat completion that every family has a word for, or that are ours. */
const COMMON = [
  'model',
  'messages',
  'stream',
  'stream_options',
  'max_tokens',
  'max_completion_tokens',
  'temperature',
  'top_p',
  'top_k',
  'seed',
  'presence_penalty',
  'frequency_penalty',
  'stop',
  'tools',
  'tool_choice',
  'functions',
  'function_call',
  'response_format',
  'reasoning_effort',
]

/** Values that ask for what comes anyway: no warning is due. */
const DEFAULTS: Record<string, readonly unknown[]> = {
  n: [1],
  logprobs: [false],
  store: [false],
  service_tier: ['auto'],
  parallel_tool_calls: [true],
}

const EFFORTS = ['none', 'minimal', 'low', 'medium', 'high', 'xhigh', 'max'] as const
type Effort = (typeof EFFORTS)[number]

/** What a package is called with; whatever of the body no word was found for is named in the warnings. @throws {RequestFault} */
export function toCallOptions(
  body: Fields,
  prompt: LanguageModelV4Prompt,
  { family, warnings }: { family: ModelFamily; warnings: Warnings },
): LanguageModelV4CallOptions {
  const effort = effortOf(body)
  const common: LanguageModelV4CallOptions = {
    prompt,
    ...defined({
      maxOutputTokens: numberIn(body, 'max_completion_tokens') ?? numberIn(body, 'max_tokens'),
      temperature: numberIn(body, 'temperature'),
      topP: numberIn(body, 'top_p'),
      topK: numberIn(body, 'top_k'),
      seed: numberIn(body, 'seed'),
      presencePenalty: penaltyIn(body, 'presence_penalty'),
      frequencyPenalty: penaltyIn(body, 'frequency_penalty'),
      stopSequences: stopsOf(body),
      responseFormat: responseFormat(body),
      reasoning: effort,
    }),
    ...toolSettings(body),
  }
  const known = new Set([...COMMON, ...family.fields])
  for (const [name, value] of Object.entries(body)) {
    if (!known.has(name) && isSaid(name, value)) warnings.leftOut(name)
  }
  return { ...common, ...family.settings(body, common, warnings) }
}

function defined<T extends object>(fields: T): T {
  // Only keys whose value is undefined go, which their types allow to be absent.
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as T
}

function isSaid(name: string, value: unknown): boolean {
  if (value === null || value === undefined || DEFAULTS[name]?.includes(value)) return false
  return !(typeof value === 'object' && Object.keys(value).length === 0)
}

/** A penalty of 0 is none. */
function penaltyIn(body: Fields, name: string): number | undefined {
  const value = numberIn(body, name)
  return value === 0 ? undefined : value
}

function stopsOf({ stop }: Fields): string[] | undefined {
  if (stop === undefined || stop === null) return undefined
  const list = typeof stop === 'string' ? [stop] : stop
  if (!Array.isArray(list) || !list.every((each) => typeof each === 'string')) {
    throw new RequestFault('stop must be a string or a list of strings.', 'stop')
  }
  return list.length > 0 ? list : undefined
}

function effortOf({ reasoning_effort: effort }: Fields): Effort | undefined {
  if (effort === undefined || effort === null) return undefined
  const known = EFFORTS.find((each) => each === effort)
  if (known) return known
  throw new RequestFault('reasoning_effort is none that is known.', 'reasoning_effort')
}
