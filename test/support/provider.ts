import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo, Socket } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'

/** One request as it arrived, and how it went: the ledger that tests hold our attempts against. */
export type LedgerEntry = {
  /** 1-based, in order of arrival. */
  number: number
  method: string
  path: string
  /** The `Host` header: under which name this server was called. */
  host: string
  headers: Record<string, string | string[] | undefined>
  /** From `Authorization: Bearer`, `api-key` or `x-api-key`; null when none came. */
  key: string | null
  model: string | null
  body: Record<string, unknown>
  /** The body as it came. */
  text: string
  /** `performance.now()` milliseconds. */
  startedAt: number
  endedAt: number | null
  /** `left`: the caller closed the connection before it had its answer. */
  outcome: 'open' | 'replied' | 'cut' | 'left'
}

/** What the provider does with one request. */
export type Answer =
  | {
      kind: 'reply'
      status: number
      body: unknown
      headers?: Record<string, string>
      delayMs?: number
      until?: Promise<void>
    }
  /** Server-sent events, one after the other; a promise among them is waited for. `cut` breaks the connection after them. */
  | {
      kind: 'stream'
      events: readonly (string | Promise<void>)[]
      isCut?: boolean
      headers?: Record<string, string>
    }
  /** Never answers; the request stays open until the caller leaves. */
  | { kind: 'hang' }
  /** Sends the head and half a body, then breaks the connection. */
  | { kind: 'cut' }
  /** Sends one byte after the other and never ends. */
  | { kind: 'tarpit'; everyMs: number }

export type Script = (request: LedgerEntry) => Answer | Promise<Answer>

/** An OpenAI chat completion. */
export function completion(
  text: string,
  usage = { prompt_tokens: 7, completion_tokens: 5, total_tokens: 12 },
) {
  return {
    kind: 'reply' as const,
    status: 200,
    body: {
      id: 'chatcmpl-test',
      object: 'chat.completion',
      created: 1_700_000_000,
      model: 'test-model',
      choices: [{ index: 0, message: { role: 'assistant', content: text }, finish_reason: 'stop' }],
      usage,
    },
  }
}

const chunk = (delta: object, finish: string | null) => ({
  id: 'chatcmpl-test',
  object: 'chat.completion.chunk',
  created: 1_700_000_000,
  model: 'test-model',
  choices: [{ index: 0, delta, finish_reason: finish }],
})
const event = (data: object) => `data: ${JSON.stringify(data)}\n\n`

/** A chat completion's stream: a chunk for each text, a last one with the reason, and usage when it was asked for. */
export function chunks(...texts: readonly (string | Promise<void>)[]) {
  const events = texts.map((text) =>
    typeof text === 'string' ? event(chunk({ content: text }, null)) : text,
  )
  const usage = { prompt_tokens: 7, completion_tokens: 5, total_tokens: 12 }
  const last =
    event(chunk({}, 'stop')) + event({ ...chunk({}, null), choices: [], usage }) + 'data: [DONE]\n\n'
  return {
    kind: 'stream' as const,
    events: [event(chunk({ role: 'assistant', content: '' }, null)), ...events, last],
  }
}

/** An error in OpenAI's shape. */
export function failure(status: number, code: string, headers: Record<string, string> = {}) {
  const type = status === 429 ? 'rate_limit_error' : 'api_error'
  const error = { message: `Scripted ${code}.`, type, param: null, code }
  return { kind: 'reply' as const, status, headers, body: { error } }
}

/** Plays the answers in order and repeats the last one. */
export function inTurn(...answers: Answer[]): Script {
  let next = 0
  return () => {
    const answer = answers[Math.min(next, answers.length - 1)] ?? completion('ok')
    next += 1
    return answer
  }
}

const answerOk: Script = () => completion('ok')

/** A provider on 127.0.0.1 with a ledger of every request. Answers "ok" to everything until it is given a script. */
export async function startProvider(options: { tls?: { certificate: string; key: string } } = {}) {
  const ledger: LedgerEntry[] = []
  const sockets = new Set<Socket>()
  let script: Script = answerOk

  const handle = (request: IncomingMessage, response: ServerResponse) => void serve(request, response)
  const server = options.tls
    ? createTlsServer({ cert: options.tls.certificate, key: options.tls.key }, handle)
    : createServer(handle)
  server.keepAliveTimeout = 60_000
  server.on('connection', (socket: Socket) => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const pieces: Buffer[] = []
    request.on('error', () => {})
    try {
      for await (const piece of request) pieces.push(piece as Buffer)
    } catch {
      return
    }
    const entry = note(ledger, request, Buffer.concat(pieces))
    response.once('close', () => {
      entry.endedAt = performance.now()
      if (entry.outcome === 'open') entry.outcome = response.writableFinished ? 'replied' : 'left'
    })
    await play(await script(entry), entry, response)
  }

  return {
    url: `${options.tls ? 'https' : 'http'}://127.0.0.1:${port}`,
    port,
    ledger,
    /** How many calls are open at this moment. */
    open: () => ledger.filter((entry) => entry.outcome === 'open').length,
    /** From now on, requests are answered like this. */
    answer(next: Script) {
      script = next
    },
    async close() {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

export type TestProvider = Awaited<ReturnType<typeof startProvider>>

function note(ledger: LedgerEntry[], request: IncomingMessage, bytes: Buffer): LedgerEntry {
  const text = bytes.toString('utf8')
  let body: Record<string, unknown> = {}
  try {
    body = JSON.parse(text)
  } catch {
    body = { unparsed: text }
  }
  const bearer = /^Bearer (.+)$/.exec(request.headers.authorization ?? '')?.[1]
  const apiKey = request.headers['api-key'] ?? request.headers['x-api-key']
  const entry: LedgerEntry = {
    number: ledger.length + 1,
    method: request.method ?? '',
    path: request.url ?? '',
    host: request.headers.host ?? '',
    headers: request.headers,
    key: bearer ?? (typeof apiKey === 'string' ? apiKey : null),
    model: typeof body['model'] === 'string' ? body['model'] : null,
    body,
    text,
    startedAt: performance.now(),
    endedAt: null,
    outcome: 'open',
  }
  ledger.push(entry)
  return entry
}

async function play(answer: Answer, entry: LedgerEntry, response: ServerResponse): Promise<void> {
  if (answer.kind === 'hang') return
  if (answer.kind === 'cut') {
    response.writeHead(200, { 'content-type': 'application/json', 'content-length': '1000' })
    response.write('{"id":"chatcmpl-')
    entry.outcome = 'cut'
    await pause(5)
    response.destroy()
    return
  }
  if (answer.kind === 'tarpit') {
    response.writeHead(200, { 'content-type': 'application/json' })
    const timer = setInterval(() => response.write(' '), answer.everyMs)
    response.once('close', () => clearInterval(timer))
    return
  }
  if (answer.kind === 'stream') {
    await playEvents(answer, entry, response)
    return
  }
  if (answer.delayMs) await pause(answer.delayMs)
  if (answer.until) await answer.until
  if (response.destroyed) return
  const headers = { 'content-type': 'application/json', 'x-request-id': `up-${entry.number}` }
  response.writeHead(answer.status, { ...headers, ...answer.headers })
  const isBytes = typeof answer.body === 'string' || Buffer.isBuffer(answer.body)
  response.end(isBytes ? answer.body : JSON.stringify(answer.body))
}

async function playEvents(
  { events, isCut, headers }: Extract<Answer, { kind: 'stream' }>,
  entry: LedgerEntry,
  response: ServerResponse,
): Promise<void> {
  response.writeHead(200, {
    'content-type': 'text/event-stream',
    'x-request-id': `up-${entry.number}`,
    ...headers,
  })
  for (const told of events) {
    if (typeof told !== 'string') await told
    else if (!response.destroyed) await new Promise((sent) => response.write(told, sent))
  }
  if (!isCut) return void response.end()
  entry.outcome = 'cut'
  response.destroy()
}
