import { setTimeout as sleep } from 'node:timers/promises'
import { GatewayError, UnavailableError } from '../shared/errors.ts'
import { ErrorResponse } from '../shared/schemas/error.ts'
import type { ClientSettings } from './client-settings.ts'
import { printable } from './terminal.ts'

const FIRST_WAIT_MS = 250
const WAIT_MS_MAX = 10_000
/** After work that went well for so long, the next failure is a first one. */
const HEALTHY_MS = 10_000

/** What a call sends along; a body of several parts, or none, comes with its own headers. */
export type CallOptions = {
  json?: unknown
  body?: AsyncIterable<Uint8Array>
  headers?: Record<string, string>
}

/**
 * The gateway, called over HTTP. Every call throws {@link GatewayError}: what the gateway answered, with its code and
 * param, or {@link UnavailableError} when nobody answers.
 * @param signal ends all calls
 */
export function createGatewayClient({ url, key }: ClientSettings, signal: AbortSignal) {
  async function send(method: string, path: string, options: CallOptions = {}): Promise<Response> {
    const headers: Record<string, string> = { authorization: `Bearer ${key}`, ...options.headers }
    if (options.json !== undefined) headers['content-type'] = 'application/json'
    const body =
      options.body === undefined
        ? options.json === undefined
          ? null
          : JSON.stringify(options.json)
        : ReadableStream.from(options.body)
    const request = { method, headers, body, signal, redirect: 'error' as const }
    const response = await reaching(() => fetch(`${url}${path}`, { ...request, duplex: 'half' }))
    if (response.ok) return response
    throw errorOf(response, await response.text().catch(() => ''), url)
  }

  /** What `fetch` throws is a reason to try again, but for the end of this command. */
  async function reaching<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work()
    } catch (error) {
      if (signal.aborted || error instanceof GatewayError) throw error
      const message = `No gateway answers at ${url} (${reasonOf(error)}).`
      throw new UnavailableError(message, error)
    }
  }

  return {
    url,
    signal,

    /** @returns the answer's JSON. */
    async call(method: string, path: string, options: CallOptions = {}): Promise<unknown> {
      const response = await send(method, path, options)
      return reaching(() => response.json())
    },

    /** The answer's bytes as they come. An answer that breaks off throws. */
    async *read(path: string): AsyncGenerator<Uint8Array> {
      const { body } = await send('GET', path)
      if (!body) return
      const reader = body.getReader()
      try {
        for (;;) {
          const { done, value } = await reaching(() => reader.read())
          if (done) return
          yield value
        }
      } finally {
        await reader.cancel().catch(() => {})
      }
    },
  }
}

export type GatewayClient = ReturnType<typeof createGatewayClient>

function reasonOf(error: unknown): string {
  const { cause } = error as { cause?: unknown }
  if (cause instanceof Error) return 'code' in cause ? String(cause.code) : cause.message
  return error instanceof Error ? error.message : 'no reason'
}

function errorOf(response: Response, text: string, url: string): GatewayError {
  const { status, headers } = response
  const retry = headers.get('x-should-retry')
  const shouldRetry = retry === null ? status === 408 || status === 429 || status >= 500 : retry === 'true'
  const details = { shouldRetry, retryAfterSeconds: Number(headers.get('retry-after')) || undefined }
  const parsed = ErrorResponse.safeParse(jsonOf(text))
  if (parsed.success) {
    const { message, type, param, code } = parsed.data.error
    const advice = status === 401 ? `${message} Set GATEWAY_API_KEY to one of this gateway's.` : message
    return new GatewayError(status, type, code ?? type, advice, { ...details, param })
  }
  const message = `${url} answered ${status}, and not as a gateway does. Look at GATEWAY_URL.`
  return new GatewayError(status, 'api_error', 'unexpected_answer', message, details)
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** An error of the gateway for a person: what it says, where, and by which code others look it up. */
export function describeError(error: GatewayError): string {
  const { message, param, code } = error
  if (error instanceof UnavailableError) return `${message} Start it, or set GATEWAY_URL.`
  const place = param === null ? '' : `param ${param}, `
  return printable(`${message} (${place}code ${code})`)
}

/**
 * Does something until it works: a gateway that restarts is away for a moment. Waits 250 ms, doubling up to 10 s, or as
 * long as the gateway asks.
 * @param onWait is told of each failure that is waited for
 * @throws what can't get better by itself, at once; anything after `giveUpMs`.
 */
export async function persist<T>(
  work: () => Promise<T>,
  {
    signal,
    onWait,
    giveUpMs,
  }: { signal: AbortSignal; onWait: (error: GatewayError) => void; giveUpMs: number },
): Promise<T> {
  const startedAtMs = performance.now()
  for (let failures = 0; ; failures += 1) {
    const triedAtMs = performance.now()
    try {
      return await work()
    } catch (error) {
      const nowMs = performance.now()
      if (!(error instanceof GatewayError) || !error.shouldRetry || signal.aborted) throw error
      if (nowMs - startedAtMs > giveUpMs) throw error
      if (nowMs - triedAtMs > HEALTHY_MS) failures = 0
      onWait(error)
      const growingMs = Math.min(FIRST_WAIT_MS * 2 ** failures, WAIT_MS_MAX)
      await sleep(Math.max(growingMs, (error.retryAfterSeconds ?? 0) * 1000), undefined, { signal })
    }
  }
}
