const MODEL = 'user-azure-instance'

/**
 * One request that is sent over and over.
 * - `origins`: connections are spread over these, not all to that of the URL.
 * - `counter`: digits in the body that are another number each time.
 */
export type BenchRequest = {
  url: string
  headers: Record<string, string>
  body: string
  status: number
  origins?: readonly string[]
  counter?: string
}

/** A request as it goes over a socket. */
export function requestBytes({ url, headers, body }: BenchRequest): Buffer {
  const { pathname, host } = new URL(url)
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`)
  const head = `POST ${pathname} HTTP/1.1\r\nhost: ${host}\r\n${lines.join('')}`
  return Buffer.from(`${head}content-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`)
}

/** A chat completion as a provider takes it, with a prompt of about `promptBytes`. */
export function completionBody(promptBytes: number): Record<string, unknown> {
  const text = 'this is a test request, write a short poem. '
  const content = text.repeat(Math.ceil(promptBytes / text.length)).slice(0, promptBytes)
  return { model: MODEL, messages: [{ role: 'user', content }], max_tokens: 64 }
}

const WORDS =
  'the of and to in is you that it he was for on are as with his they at be this have from or one had by word but not what all were we when your can said there use an each which she do how their if will up other about out many then them these so some her would make like him into time has look two more write go see number no way could people my than first water been call who oil its now find long down day did get come made may part'.split(
    ' ',
  )

/** English words in no order, the same each time: it packs about as well as prose does, not as a repeated sentence. */
export function prose(bytes: number): string {
  let [text, seed] = ['', 1]
  while (text.length < bytes) {
    seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31
    text += `${WORDS[Math.floor((seed / 2 ** 31) * WORDS.length)]} `
  }
  return text.slice(0, bytes)
}

/**
 * A chat completion that brings its own router config: two deployments with a fallback between them, retries, and limits
 * that are kept but never reached.
 * @param upstream Origin that both deployments call.
 */
export function userConfigBody(promptBytes: number, upstream: string): Record<string, unknown> {
  const limits = { tpm: 2_400_000_000, rpm: 18_000_000 }
  const azure = {
    model: 'azure/chatgpt-v-2',
    api_key: 'bench-azure-key-0123456789',
    api_version: '2024-02-01',
    api_base: upstream,
    timeout: 10,
  }
  const openai = {
    model: 'gpt-3.5-turbo',
    api_key: 'sk-bench-openai-key-0123456789',
    api_base: `${upstream}/v1`,
    timeout: 10,
  }
  return {
    ...completionBody(promptBytes),
    user_config: {
      model_list: [
        { model_name: MODEL, litellm_params: azure, ...limits },
        { model_name: 'user-openai-instance', litellm_params: openai, ...limits },
      ],
      num_retries: 2,
      allowed_fails: 3,
      fallbacks: [{ [MODEL]: ['user-openai-instance'] }],
    },
  }
}

/**
 * Sends a request once and looks at the answer, which is a completion or the stream of one.
 * @throws an Error with the answer's text when the status or the body is not what it must be.
 */
export async function checkOnce(request: BenchRequest): Promise<unknown> {
  const { url, headers, body, status } = request
  const response = await fetch(url, { method: 'POST', headers, body, signal: AbortSignal.timeout(120_000) })
  const text = await response.text()
  if (response.status !== status) throw new Error(`${url} answered ${response.status}: ${text.slice(0, 500)}`)
  if (response.headers.get('content-type')?.startsWith('text/event-stream')) {
    if (!text.endsWith('data: [DONE]\n\n')) throw new Error(`${url} gave no whole stream: ${text}`)
    return text
  }
  const json: unknown = JSON.parse(text)
  if (status === 200 && !text.includes('"chat.completion"'))
    throw new Error(`${url} gave no completion: ${text}`)
  return json
}
