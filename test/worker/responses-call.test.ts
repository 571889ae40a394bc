import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createSseReader, formatSse } from '../../shared/sse.ts'
import type { Outbound } from '../../worker/outbound.ts'
import { createProviders } from '../../worker/providers/registry.ts'
import { messages } from '../../worker/translation/messages.ts'
import { responses } from '../../worker/translation/responses.ts'
import { chunksOf, completionOf, dataOf, type Said } from './chat-streams.ts'
import { callOf, createLocalOutbound } from './provider-calls.ts'

type Handler = (request: IncomingMessage, response: ServerResponse) => void

let answer: Handler
const asked: { path: string | undefined; body: Record<string, unknown> }[] = []
const server = createServer((request, response) => {
  const pieces: Buffer[] = []
  request.on('data', (piece: Buffer) => pieces.push(piece))
  request.on('end', () => {
    const body = JSON.parse(Buffer.concat(pieces).toString()) as Record<string, unknown> // our own
    asked.push({ path: request.url, body })
    answer(request, response)
  })
})
let outbound: Outbound
beforeAll(async () => {
  outbound = createLocalOutbound()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
})
afterAll(async () => {
  await outbound.close()
  server.closeAllConnections()
  await new Promise((resolve) => server.close(resolve))
})

const said: Said = { content: 'Hello', calls: [{ id: 'call_1', name: 'f', text: '{"x":1}' }] }
const forms = [
  {
    endpoint: 'responses' as const,
    translation: responses,
    body: { model: 'group', input: 'Hi', truncation: 'auto' },
  },
  {
    endpoint: 'messages' as const,
    translation: messages,
    body: {
      model: 'group',
      messages: [{ role: 'user', content: 'Hi' }],
      max_tokens: 5,
      container: 'truncation',
    },
  },
]

/** Calls a provider that has chat completions only. */
async function call({ endpoint, body }: (typeof forms)[number], isStreamed: boolean) {
  const api_base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const pieces: string[] = []
  const sink = isStreamed
    ? { write: (bytes: Uint8Array) => void pieces.push(Buffer.from(bytes).toString()) }
    : null
  const asking = { ...body, ...(isStreamed ? { stream: true } : {}) }
  const given = callOf({ provider: 'deepseek', api_base }, asking, { endpoint, sink })
  const outcome = await createProviders(outbound)(given.bundle).call(given)
  return { outcome, events: createSseReader()(Buffer.from(pieces.join(''))), pieces, asking }
}

const parse = (body: Buffer | null | undefined) => JSON.parse(String(body)) as Record<string, unknown> // ours

test.each(forms)('$endpoint of a provider without it are asked as a chat completion', async (form) => {
  answer = (_request, response) => response.end(JSON.stringify(completionOf(said)))
  const { outcome } = await call(form, false)
  if (outcome.kind !== 'reply') throw new Error('The call failed.')
  expect(asked.at(-1)).toMatchObject({
    path: '/chat/completions',
    body: { model: 'gpt-4o', messages: [{ role: 'user', content: 'Hi' }] },
  })
  expect(parse(outcome.reply.body)).toEqual(form.translation.answer(completionOf(said), form.body))
  expect(outcome.reply.usage).toMatchObject({ input_tokens: 20, output_tokens: 9 })
  expect(outcome.reply.warnings).toEqual([expect.stringMatching(/^`(truncation|container)` was left out/)])
})

test.each(forms)('a stream of $endpoint ends as the whole answer would have been', async (form) => {
  answer = (_request, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    for (const chunk of chunksOf(said)) response.write(formatSse({ data: JSON.stringify(chunk) }))
    response.end('data: [DONE]\n\n')
  }
  const { outcome, events, pieces, asking } = await call(form, true)
  if (outcome.kind !== 'reply') throw new Error('The call failed.')
  expect(asked.at(-1)?.body).toMatchObject({ stream: true, stream_options: { include_usage: true } })
  const whole = form.translation.answer(completionOf(said), asking)
  expect(parse(outcome.reply.body)).toEqual(whole)
  const last = dataOf(events).at(-1)
  expect(last).toMatchObject(form.endpoint === 'responses' ? { response: whole } : { type: 'message_stop' })
  for (const piece of pieces) expect(piece).toMatch(/^event: [^]*\n\n$/)
  expect(pieces.join('')).not.toContain('[DONE]')
})

test.each(forms)('a stream of $endpoint that breaks leaves what it had brought, and no end', async (form) => {
  answer = (_request, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    const text = chunksOf(said)
      .slice(0, 4)
      .map((chunk) => formatSse({ data: JSON.stringify(chunk) }))
    // All of it arrives, but for the end that a body in chunks has.
    response.write(text.join(''), () => response.socket?.end())
  }
  const { outcome, events } = await call(form, true)
  if (outcome.kind !== 'error') throw new Error('The call did not fail.')
  const types = dataOf(events).map(({ type }) => type)
  expect(types).not.toContain('response.completed')
  expect(types).not.toContain('message_stop')
  const isResponse = form.endpoint === 'responses'
  expect(parse(outcome.partial)).toMatchObject(
    isResponse
      ? { status: 'in_progress', output: [{ content: [{ text: 'Hello' }] }] }
      : { stop_reason: null, content: [{ text: 'Hello' }] },
  )
})

test.each(forms)(
  'an early failure of $endpoint writes nothing, so that another can be tried',
  async (form) => {
    answer = (_request, response) => response.writeHead(500).end('{}')
    const { outcome, pieces } = await call(form, true)
    expect(outcome).toMatchObject({ kind: 'error', error: { status: 500 } })
    expect(pieces).toEqual([])
  },
)
