import type { CallLimits } from '../openai-call.ts'
import { timeoutsOf } from '../openai-call.ts'
import type { OutboundHead, OutboundRequest, OutboundResponse } from '../../exchange.ts'
import { readHeader } from '../../header-time.ts'
import { OutboundError } from '../../outbound-error.ts'
import type { Outbound } from '../../outbound.ts'
import type { ProviderCall } from '../provider.ts'

const RESPONSE_BYTES_MAX = 10 * 1024 * 1024
/** A stream says each token in some 250 bytes. */
const STREAM_BYTES_MAX = 64 * 1024 * 1024
const STREAM_TYPES = /^(?:text\/event-stream|application\/vnd\.amazon\.eventstream)\b/i
/** Headers that could carry a credential, which a package is never trusted with: it may have one of the environment. */
const CREDENTIAL_HEADERS = ['authorization', 'x-api-key', 'x-goog-api-key']
/** Answers that have no body by definition. */
const EMPTY_STATUSES = new Set([204, 205, 304])

/** The door out in the form of `fetch`, for one request of one call, and what became of that. */
export type ModelFetch = {
  fetch: typeof globalThis.fetch
  /** Why no complete answer came; null as long as none is known. */
  failure: () => unknown
  /** The head of the answer, as soon as it is there. */
  head: () => OutboundHead | null
  /** The whole answer, when it came in one piece. */
  answer: () => OutboundResponse | null
}

type FetchOptions = {
  limits: CallLimits
  /** The headers with the bundle's secret; null: the package has signed the request with it. */
  credential: Record<string, string> | null
  signal: AbortSignal
  /** When the call's clock began to run, by `performance.now()`. */
  startedAt: number
}

/**
 * Makes that function. A streamed answer of a good status passes through in pieces; any other is read whole, so that an
 * error can be told by its body.
 */
export function createModelFetch(outbound: Outbound, call: ProviderCall, options: FetchOptions): ModelFetch {
  let failure: unknown = null
  let head: OutboundHead | null = null
  let answer: OutboundResponse | null = null
  let isUsed = false

  async function send(input: string | URL | Request, init?: RequestInit): Promise<Response> {
    // One call is one request: a package that asks again by itself would bill twice and pass over the clocks.
    if (isUsed) throw new OutboundError('refused', true, 'The provider asked for a second request.')
    isUsed = true
    const { promise, resolve, reject } = Promise.withResolvers<Response>()
    let body: PushedBody | null = null
    const onHead = (told: OutboundHead) => {
      head = told
      if (!call.sink || !isStream(told)) return null
      body = createPushedBody()
      resolve(new Response(body.stream, { status: told.status, headers: toHeaders(told.headers) }))
      return body.push
    }
    const settle = async () => {
      try {
        const response = await outbound.post({ ...requestOf(call, options, input, init), onHead })
        if (body) return body.end()
        answer = response
        resolve(toResponse(response))
      } catch (error) {
        failure = error
        body?.fail(error)
        reject(error)
      }
    }
    void settle()
    return promise
  }

  return { fetch: send, failure: () => failure, head: () => head, answer: () => answer }
}

function requestOf(
  call: ProviderCall,
  { limits, credential, signal, startedAt }: FetchOptions,
  input: string | URL | Request,
  init?: RequestInit,
): OutboundRequest {
  const timeouts = timeoutsOf(call, limits)
  // What went by while files were fetched is a part of the whole.
  const spentMs = Math.round(performance.now() - startedAt)
  return {
    url: input instanceof Request ? input.url : String(input),
    headers: headersOf(init?.headers, call, credential),
    body: typeof init?.body === 'string' ? init.body : '',
    timeouts: { ...timeouts, totalMs: Math.max(1, timeouts.totalMs - spentMs) },
    maxResponseBytes: RESPONSE_BYTES_MAX,
    maxStreamBytes: STREAM_BYTES_MAX,
    signal,
    trustedOrigin: call.bundle.trusted_base,
  }
}

type PushedBody = ReturnType<typeof createPushedBody>

/** A body that is filled from outside. It holds what comes until it is read: its size is capped where it comes from. */
function createPushedBody() {
  let controller: ReadableStreamDefaultController<Uint8Array> | null = null
  const stream = new ReadableStream<Uint8Array>({
    start(own) {
      controller = own
    },
    cancel() {
      controller = null
    },
  })
  return {
    stream,
    push: (piece: Buffer) => controller?.enqueue(new Uint8Array(piece)),
    end: () => controller?.close(),
    fail: (error: unknown) => controller?.error(error),
  }
}

function isStream({ status, headers }: OutboundHead): boolean {
  return status >= 200 && status < 300 && STREAM_TYPES.test(readHeader(headers, 'content-type') ?? '')
}

function headersOf(
  written: RequestInit['headers'],
  { bundle }: ProviderCall,
  credential: Record<string, string> | null,
): Record<string, string> {
  const all = Object.fromEntries(new Headers(written).entries())
  const agent = Object.entries(bundle.headers).find(([name]) => name.toLowerCase() === 'user-agent')?.[1]
  const kept = { ...all, 'user-agent': agent ?? 'byok-gateway' }
  if (credential === null) return kept
  const bare = Object.entries(kept).filter(([name]) => !CREDENTIAL_HEADERS.includes(name))
  return { ...Object.fromEntries(bare), ...credential }
}

function toResponse({ status, headers, body }: OutboundResponse): Response {
  return new Response(EMPTY_STATUSES.has(status) ? null : new Uint8Array(body), {
    status,
    headers: toHeaders(headers),
  })
}

function toHeaders(headers: OutboundResponse['headers']): Headers {
  const all = new Headers()
  for (const [name, value] of Object.entries(headers)) {
    if (value === undefined) continue
    try {
      all.set(name, Array.isArray(value) ? value.join(', ') : value)
    } catch {
      // A header that can't stand in a Headers object says nothing that is read.
    }
  }
  return all
}
