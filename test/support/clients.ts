import { OpenAI } from 'openai'
import { OpenAI as OpenAI6 } from 'openai-v6'

/** The two official SDK lines that must work unmodified. */
export const SDKS = [
  { name: 'openai 7', make: (options: ClientOptions) => new OpenAI(options) },
  { name: 'openai 6', make: (options: ClientOptions) => new OpenAI6(options) as unknown as OpenAI },
] as const

type ClientOptions = { baseURL: string; apiKey: string; maxRetries?: number; timeout?: number }

/** The current SDK, without retries of its own: a test sees every answer. */
export function openaiClient(baseURL: string, apiKey: string): OpenAI {
  return new OpenAI({ baseURL, apiKey, maxRetries: 0 })
}

/** A request of the SDK with fields that it has no types for: they go into the body as they are. */
export function chat(
  client: OpenAI,
  body: { model: string; content?: string } & Record<string, unknown>,
  options: OpenAI.RequestOptions = {},
): Promise<OpenAI.ChatCompletion> {
  const { model, content = 'Say this is a test', ...extra } = body
  const request: OpenAI.ChatCompletionCreateParamsNonStreaming = {
    model,
    messages: [{ role: 'user', content }],
    ...extra,
  }
  return client.chat.completions.create(request, options)
}
