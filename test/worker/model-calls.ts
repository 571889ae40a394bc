import { vi } from 'vitest'
import { createSseReader, type SseEvent } from '../../shared/sse.ts'
import type { CallOutcome, StreamSink } from '../../worker/providers/provider.ts'

/** Every credential that a provider's package looks for by itself; none may ever be sent. */
const POISONED = [
  'OPENAI_API_KEY',
  'ANTHROPIC_API_KEY',
  'ANTHROPIC_AUTH_TOKEN',
  'ANTHROPIC_BASE_URL',
  'GOOGLE_GENERATIVE_AI_API_KEY',
  'GOOGLE_API_KEY',
  'GEMINI_API_KEY',
  'GOOGLE_VERTEX_API_KEY',
  'GOOGLE_APPLICATION_CREDENTIALS',
  'GOOGLE_CLIENT_EMAIL',
  'GOOGLE_PRIVATE_KEY',
  'AWS_ACCESS_KEY_ID',
  'AWS_SECRET_ACCESS_KEY',
  'AWS_SESSION_TOKEN',
  'AWS_BEARER_TOKEN_BEDROCK',
  'AWS_REGION',
  'AWS_ENDPOINT_URL',
  'AWS_ENDPOINT_URL_BEDROCK_RUNTIME',
]

/** Sets all of them to what a search finds again. The caller unstubs. */
export function poisonEnvironment(): void {
  for (const name of POISONED) vi.stubEnv(name, `https://canary.invalid/${name}`)
}

/** A sink that keeps what is written. */
export function createKeepingSink() {
  const pieces: Buffer[] = []
  const sink: StreamSink = { write: (bytes) => void pieces.push(Buffer.from(bytes)) }
  const bytes = () => Buffer.concat(pieces)
  return {
    sink,
    bytes,
    events: (): SseEvent[] => createSseReader()(bytes()),
    /** Each chunk but the end mark. */
    chunks: () =>
      createSseReader()(bytes())
        .filter(({ data }) => data !== '[DONE]')
        .map(({ data }): Record<string, unknown> => JSON.parse(data)),
  }
}

/** The body of a reply. */
export function completionOf(outcome: CallOutcome): Record<string, unknown> {
  if (outcome.kind === 'error') throw new Error(`The call failed: ${JSON.stringify(outcome.error)}`)
  return JSON.parse(outcome.reply.body.toString('utf8'))
}

/** Server-sent events as Anthropic and Google send them. */
export function sse(events: readonly Record<string, unknown>[]): string {
  return events
    .map((event) => {
      const name = typeof event['type'] === 'string' ? `event: ${event['type']}\n` : ''
      return `${name}data: ${JSON.stringify(event)}\n\n`
    })
    .join('')
}

export const SSE = { 'content-type': 'text/event-stream; charset=utf-8' }

/** The smallest PNG that is one. */
export const PIXEL =
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=='
