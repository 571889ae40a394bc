import { isObject } from '../providers/error-body.ts'
import { functionTool, given } from './chat-messages.ts'
import { isText, listOf } from './json-values.ts'
import { readMark, type Context } from './messages-content.ts'
import { readTurns } from './messages-turns.ts'
import type { ChatDialect } from './translation.ts'
import { createWarnings } from './warnings.ts'

type JsonObject = Record<string, unknown>

/** Said in a chat completion by other fields; the rest (`temperature`, `top_p`, `top_k`) passes as it is. */
const TRANSLATED = [
  'anthropic_version',
  'cache_control',
  'max_tokens',
  'messages',
  'metadata',
  'output_config',
  'output_format',
  'service_tier',
  'stop_sequences',
  'stream',
  'system',
  'thinking',
  'tool_choice',
  'tools',
]

/** What only Anthropic's API has. */
const LEFT_OUT = [
  'anthropic_beta',
  'betas',
  'container',
  'context_management',
  'diagnostics',
  'inference_geo',
  'mcp_servers',
  'speed',
  'user_profile_id',
  'workspace_id',
]

/**
 * A request of Anthropic's Messages API as a chat completion's.
 *
 * @see https://docs.anthropic.com/en/api/messages
 */
export function askMessage(
  request: JsonObject,
  dialect: ChatDialect,
): { body: JsonObject; warnings: string[] } {
  const warnings = createWarnings()
  const context = { dialect, warnings }
  const gone = new Set([...TRANSLATED, ...LEFT_OUT])
  const passed = Object.entries(request).filter(([name]) => !gone.has(name))
  for (const name of LEFT_OUT)
    if (request[name] !== undefined && request[name] !== null) warnings.leftOut(name)
  // At the top it asks for a mark to be put where one fits, which is Anthropic's own art.
  readMark(request, { ...context, dialect: 'plain' })
  const body = {
    ...Object.fromEntries(passed),
    messages: readTurns(request['system'], request['messages'], context),
    ...readTools(request, context),
    ...readThinking(request, context),
    ...readFormat(request),
    ...given({
      max_completion_tokens: request['max_tokens'],
      stop: request['stop_sequences'],
      user: isObject(request['metadata']) ? request['metadata']['user_id'] : null,
      // Anthropic's default, `auto`, is every provider's own.
      service_tier: request['service_tier'] === 'standard_only' ? 'default' : null,
    }),
    ...readStream(request['stream']),
  }
  return { body, warnings: warnings.list() }
}

const WHY_NO_TOOL = 'the provider is asked for chat completions, which have functions only'

/** A choice among tools that are all left out is no choice any more. */
function readTools({ tools, tool_choice: choice }: JsonObject, context: Context): JsonObject {
  const functions: JsonObject[] = []
  for (const tool of listOf(tools)) {
    const { type } = tool
    if (!isText(type) || type === 'custom') functions.push(readTool(tool, context))
    else context.warnings.leftOut(`tool ${type}`, WHY_NO_TOOL)
  }
  return functions.length > 0 ? { tools: functions, ...readToolChoice(choice) } : {}
}

const TOOL_EXTRAS = ['allowed_callers', 'defer_loading', 'input_examples']

function readTool(tool: JsonObject, context: Context): JsonObject {
  const { name, description, input_schema: parameters, strict } = tool
  for (const extra of TOOL_EXTRAS) {
    if (tool[extra] !== undefined) context.warnings.leftOut(`tools.${extra}`)
  }
  return { ...functionTool({ name, description, parameters, strict }), ...readMark(tool, context) }
}

const CHOICES: Record<string, unknown> = { auto: 'auto', any: 'required', none: 'none' }

function readToolChoice(choice: unknown): JsonObject {
  if (!isObject(choice)) return {}
  const { type, name, disable_parallel_tool_use: isSingle } = choice
  const tool_choice = type === 'tool' ? { type: 'function', function: { name } } : CHOICES[String(type)]
  return given({ tool_choice, parallel_tool_calls: isSingle === true ? false : null })
}

/** A budget of thinking as an effort: up to 4,096 tokens are low, up to 16,384 medium, more are high. */
function readThinking({ thinking, output_config: config }: JsonObject, { warnings }: Context): JsonObject {
  // An effort that is named says more than a number that was made into one.
  const named = isObject(config) ? config['effort'] : null
  if (isText(named)) return { reasoning_effort: named }
  if (!isObject(thinking) || thinking['type'] !== 'enabled') return {}
  const budget = thinking['budget_tokens']
  if (typeof budget !== 'number') return {}
  const effort = budget <= 4_096 ? 'low' : budget <= 16_384 ? 'medium' : 'high'
  warnings.say(`\`thinking.budget_tokens\` was said as a reasoning effort, ${effort}.`)
  return { reasoning_effort: effort }
}

/** Anthropic promises that the answer keeps to the schema, which is what `strict` asks for. */
function readFormat({ output_config: config, output_format: old }: JsonObject): JsonObject {
  const format = isObject(config) && isObject(config['format']) ? config['format'] : old
  if (!isObject(format) || format['type'] !== 'json_schema') return {}
  const json_schema = { name: 'answer', schema: format['schema'], strict: true }
  return { response_format: { type: 'json_schema', json_schema } }
}

/** The usage of a message comes with its stream, so that of a chat is asked for. */
function readStream(stream: unknown): JsonObject {
  if (stream === true) return { stream, stream_options: { include_usage: true } }
  return stream === undefined || stream === null ? {} : { stream }
}
