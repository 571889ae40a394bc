import { isObject } from '../settings/notes.ts'

type JsonObject = Record<string, unknown>

/** What of the request a Response tells again; what stands for a setting that was not given, where the API says it. */
const ECHOED: JsonObject = {
  background: false,
  instructions: null,
  max_output_tokens: null,
  max_tool_calls: null,
  metadata: {},
  parallel_tool_calls: true,
  previous_response_id: null,
  prompt_cache_key: null,
  safety_identifier: null,
  store: true,
  // Which ones the provider takes by itself is not known.
  temperature: null,
  tool_choice: 'auto',
  tools: [],
  top_logprobs: 0,
  top_p: null,
  truncation: 'disabled',
  user: null,
}

/**
 * The fields of a Response that repeat its request's.
 * @see https://platform.openai.com/docs/api-reference/responses/object
 */
export function echoRequest(request: JsonObject): JsonObject {
  const told = withoutLogins(request)
  const given = Object.entries(ECHOED).map(([name, other]) => [name, told[name] ?? other])
  return {
    ...Object.fromEntries(given),
    reasoning: { effort: null, summary: null, ...objectOf(request['reasoning']) },
    text: { format: { type: 'text' }, ...objectOf(request['text']) },
  }
}

/** What a tool's server is called with: secrets, which OpenAI neither keeps nor tells again. */
const LOGINS: ReadonlySet<string> = new Set(['authorization', 'headers'])

/** A request for those who read it later. */
export function withoutLogins(request: JsonObject): JsonObject {
  const { tools } = request
  if (!Array.isArray(tools)) return request
  return { ...request, tools: tools.map((tool: unknown) => (isObject(tool) ? withoutLogin(tool) : tool)) }
}

function withoutLogin(tool: JsonObject): JsonObject {
  return Object.fromEntries(Object.entries(tool).filter(([name]) => !LOGINS.has(name)))
}

function objectOf(value: unknown): object {
  return typeof value === 'object' && value !== null ? value : {}
}
