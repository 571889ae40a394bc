import type { JSONSchema7, LanguageModelV4CallOptions, LanguageModelV4FunctionTool } from '@ai-sdk/provider'
import { isObject } from '../error-body.ts'
import { neededText, objectIn, objectsIn, textIn, type Fields } from './fields.ts'
import { partOptions } from './part-options.ts'
import { RequestFault } from './request-fault.ts'

type ToolSettings = Pick<LanguageModelV4CallOptions, 'tools' | 'toolChoice'>

/** `tools` and `tool_choice`, or OpenAI's old `functions` and `function_call`. @throws {RequestFault} */
export function toolSettings(body: Fields): ToolSettings {
  const current = objectsIn(body, 'tools').map((tool, index) => functionTool(tool, `tools[${index}]`))
  const legacy = objectsIn(body, 'functions').map((called, index) =>
    toolOf(called, {}, `functions[${index}]`),
  )
  const tools = [...current, ...legacy]
  if (tools.length === 0) return {}
  const toolChoice = choiceOf(body)
  return toolChoice ? { tools, toolChoice } : { tools }
}

function functionTool(tool: Fields, place: string): LanguageModelV4FunctionTool {
  const called = tool['function']
  // Leaving a tool out would change what the model can do.
  if (tool['type'] !== 'function' || !isObject(called)) {
    throw new RequestFault(`${place}: this provider can only be given functions.`, place)
  }
  return toolOf(called, tool, `${place}.function`)
}

function toolOf(called: Fields, around: Fields, place: string): LanguageModelV4FunctionTool {
  const description = textIn(called, 'description', `${place}.description`)
  const schema = objectIn(called, 'parameters') ?? { type: 'object', properties: {} }
  return {
    type: 'function',
    name: neededText(called, 'name', `${place}.name`),
    ...(description === undefined ? {} : { description }),
    inputSchema: schemaOf(schema),
    ...(typeof called['strict'] === 'boolean' ? { strict: called['strict'] } : {}),
    ...partOptions('cache_control' in around ? around : called),
  }
}

// What a schema may hold is the provider's to judge.
const schemaOf = (schema: Fields) => schema as JSONSchema7

function choiceOf({ tool_choice: choice, function_call: legacy }: Fields): ToolSettings['toolChoice'] {
  const written = choice ?? legacy ?? undefined
  if (written === undefined) return undefined
  if (written === 'auto' || written === 'none' || written === 'required') return { type: written }
  // Mistral's word, which LiteLLM takes as well.
  if (written === 'any') return { type: 'required' }
  const called = isObject(written) && isObject(written['function']) ? written['function'] : written
  const name = isObject(called) ? called['name'] : null
  if (typeof name === 'string' && name !== '') return { type: 'tool', toolName: name }
  throw new RequestFault('tool_choice is none that is known.', 'tool_choice')
}

/** `response_format`; a JSON object may have its schema in LiteLLM's `response_schema`. @throws {RequestFault} */
export function responseFormat(body: Fields): LanguageModelV4CallOptions['responseFormat'] {
  const format = objectIn(body, 'response_format')
  const type = format?.['type']
  if (!format || type === 'text') return undefined
  const written =
    type === 'json_schema' ? objectIn(format, 'json_schema') : { schema: format['response_schema'] }
  if (!written || (type !== 'json_schema' && type !== 'json_object')) {
    throw new RequestFault('response_format is none that is known.', 'response_format')
  }
  const schema = objectIn(written, 'schema')
  const name = textIn(written, 'name')
  const description = textIn(written, 'description')
  return {
    type: 'json',
    ...(schema ? { schema: schemaOf(schema) } : {}),
    ...(name === undefined ? {} : { name }),
    ...(description === undefined ? {} : { description }),
  }
}
