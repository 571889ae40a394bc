import { isObject } from '../providers/error-body.ts'
import { functionTool, given } from './chat-messages.ts'
import { listOf } from './json-values.ts'
import { readInput } from './responses-input.ts'
import type { ChatDialect } from './translation.ts'
import { createWarnings, type Warnings } from './warnings.ts'

type JsonObject = Record<string, unknown>

/** Said in a chat completion by the fields named here; the rest passes as it is. */
const TRANSLATED = [
  'input',
  'instructions',
  'tools',
  'tool_choice',
  'parallel_tool_calls',
  'text',
  'reasoning',
  'max_output_tokens',
  'top_logprobs',
  'include',
  'stream',
  'stream_options',
]

/** What only the Responses API has. */
const LEFT_OUT = [
  'access_programs',
  'context_management',
  'conversation',
  'image',
  'max_tool_calls',
  'previous_response_id',
  'prompt',
]

/**
 * A request of the Responses API as a chat completion's. Where both have a field of one name (`temperature`, `top_p`,
 * `metadata`, `user`, `safety_identifier`, `prompt_cache_key`, `service_tier`, `store`) and where neither knows it, it passes
 * as it is. `background` is what a gateway does, not a provider: it goes without a word.
 *
 * @see https://platform.openai.com/docs/api-reference/responses/create
 */
export function askResponse(
  request: JsonObject,
  dialect: ChatDialect,
): { body: JsonObject; warnings: string[] } {
  const warnings = createWarnings()
  const gone = new Set([...TRANSLATED, ...LEFT_OUT, 'truncation', 'background'])
  const passed = Object.entries(request).filter(([name]) => !gone.has(name))
  for (const name of LEFT_OUT) if (isSet(request[name])) warnings.leftOut(name)
  if (isSet(request['truncation']) && request['truncation'] !== 'disabled') warnings.leftOut('truncation')
  const body = {
    ...Object.fromEntries(passed),
    messages: readInput(request, dialect, warnings),
    ...readTools(request, warnings),
    ...readText(request['text']),
    ...readReasoning(request['reasoning'], warnings),
    ...readLogprobs(request, warnings),
    ...given({ max_completion_tokens: request['max_output_tokens'] }),
    ...readStream(request['stream']),
  }
  return { body, warnings: warnings.list() }
}

function isSet(value: unknown): boolean {
  return value !== undefined && value !== null
}

/** A choice among tools that are all left out is no choice any more. */
function readTools(request: JsonObject, warnings: Warnings): JsonObject {
  const { tools, tool_choice: choice, parallel_tool_calls } = request
  const all = listOf(tools)
  const functions = all.filter(({ type }) => type === 'function')
  for (const { type } of all) if (type !== 'function') warnings.leftOut(`tool ${String(type)}`, WHY_NO_TOOL)
  if (functions.length === 0) return {}
  return {
    tools: functions.map(({ name, description, parameters, strict }) =>
      functionTool({ name, description, parameters, strict }),
    ),
    ...readToolChoice(choice, warnings),
    ...given({ parallel_tool_calls }),
  }
}

const WHY_NO_TOOL = 'the provider is asked for chat completions, which have functions only'

function readToolChoice(choice: unknown, warnings: Warnings): JsonObject {
  if (!isSet(choice) || typeof choice === 'string') return given({ tool_choice: choice })
  if (!isObject(choice)) return { tool_choice: choice }
  const { type, name, mode } = choice
  if (type === 'function') return { tool_choice: nameFunction(name) }
  const allowed = listOf(choice['tools']).filter((tool) => tool['type'] === 'function')
  if (type !== 'allowed_tools' || allowed.length === 0) {
    warnings.leftOut(`tool_choice ${String(type)}`, WHY_NO_TOOL)
    return {}
  }
  const tools = allowed.map((tool) => nameFunction(tool['name']))
  return { tool_choice: { type, allowed_tools: { mode, tools } } }
}

function nameFunction(name: unknown): JsonObject {
  return { type: 'function', function: { name } }
}

/** The default, plain text, is not said: some servers take no `response_format` at all. */
function readText(text: unknown): JsonObject {
  if (!isObject(text)) return {}
  const { format, verbosity } = text
  if (!isObject(format) || format['type'] === 'text') return given({ verbosity })
  const { type, ...schema } = format
  const response_format = type === 'json_schema' ? { type, json_schema: schema } : format
  return { response_format, ...given({ verbosity }) }
}

function readReasoning(reasoning: unknown, warnings: Warnings): JsonObject {
  if (!isObject(reasoning)) return {}
  const { effort, ...others } = reasoning
  for (const name of Object.keys(given(others))) warnings.leftOut(`reasoning.${name}`)
  return given({ reasoning_effort: effort })
}

const LOGPROBS = 'message.output_text.logprobs'
/** Comes unasked where there is any. */
const ENCRYPTED = 'reasoning.encrypted_content'

function readLogprobs({ include, top_logprobs }: JsonObject, warnings: Warnings): JsonObject {
  const wanted: unknown[] = Array.isArray(include) ? include : []
  for (const name of wanted)
    if (name !== LOGPROBS && name !== ENCRYPTED) warnings.leftOut(`include ${String(name)}`)
  const hasTop = typeof top_logprobs === 'number' && top_logprobs > 0
  return wanted.includes(LOGPROBS) || hasTop ? { logprobs: true, ...given({ top_logprobs }) } : {}
}

/** The usage of a Response comes with its last event, so that of a chat is asked for. */
function readStream(stream: unknown): JsonObject {
  if (stream === true) return { stream, stream_options: { include_usage: true } }
  return stream === undefined || stream === null ? {} : { stream }
}
