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
  const given = Object.entries(ECHOED).map(([name, other]) => [name, request[name] ?? other])
  return {
    ...Object.fromEntries(given),
    reasoning: { effort: null, summary: null, ...objectOf(request['reasoning']) },
    text: { format: { type: 'text' }, ...objectOf(request['text']) },
  }
}

function objectOf(value: unknown): object {
  return typeof value === 'object' && value !== null ? value : {}
}
