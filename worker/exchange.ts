import { OutboundError, type OutboundErrorKind } from './outbound-error.ts'

/** Milliseconds: until connected (waiting for a socket included), until the head, between bytes, altogether. */
export type OutboundTimeouts = { connectMs: number; firstByteMs: number; idleMs: number; totalMs: number }

export type OutboundRequest = {
  url: string
  headers: Record<string, string>
  body: string | Buffer
  timeouts: OutboundTimeouts
  /** Bytes as they arrive: compression is not asked for and never undone. */
  maxResponseBytes: number
  /** The same of a body that `onHead` takes piece by piece; as `maxResponseBytes` unless given. */
  maxStreamBytes?: number
  signal: AbortSignal
  /** The URL's base is the operator's own: it may lead anywhere. */
  trustedOrigin?: boolean
  /**
   * Asked when the head is there: a function takes the pieces of the body as they come, and the answer's `body` stays empty.
   * What it throws ends the exchange; an `OutboundError` says how.
   */
  onHead?: (head: OutboundHead) => ((piece: Buffer) => void) | null
}

export type OutboundHead = Pick<OutboundResponse, 'status' | 'headers'>

export type OutboundResponse = {
  status: number
  headers: Record<string, string | string[] | undefined>
  body: Buffer
}

/** What we use of undici's controller. */
type Controller = { abort: (reason: Error) => void }

type Phase = 'timeout_connect' | 'timeout_first_byte' | 'timeout_idle'

/**
 * One request on its way, as undici's handler. Phases: waiting for a socket (`timeout_connect`), sent and waiting for the
 * head (`timeout_first_byte`), reading (`timeout_idle`); over all of them the total and the abort signal. It settles
 * once, at once; what undici still reports afterwards is dropped.
 */
export class Exchange {
  readonly #request: OutboundRequest
  readonly #done: (response: OutboundResponse) => void
  readonly #failed: (error: Error) => void
  readonly #total: NodeJS.Timeout
  #phaseTimer: NodeJS.Timeout | undefined
  #controller: Controller | null = null
  #isSettled = false
  #status = 0
  #headers: OutboundResponse['headers'] = {}
  #chunks: Buffer[] = []
  #take: ((piece: Buffer) => void) | null = null
  #sizeBytes = 0

  constructor(
    request: OutboundRequest,
    done: (response: OutboundResponse) => void,
    failed: (error: Error) => void,
  ) {
    this.#request = request
    this.#done = done
    this.#failed = failed
    const { totalMs, connectMs } = request.timeouts
    this.#total = setTimeout(() => this.#giveUp('timeout_total', `No answer within ${totalMs} ms.`), totalMs)
    this.#enter('timeout_connect', connectMs)
    request.signal.addEventListener('abort', this.#onAbort, { once: true })
  }

  onRequestStart(controller: Controller): void {
    this.#controller = controller
    // Given up while it stood in line: it must not be sent any more.
    if (this.#isSettled) controller.abort(new Error('given up'))
    else this.#enter('timeout_first_byte', this.#request.timeouts.firstByteMs)
  }

  onResponseStart(_controller: unknown, status: number, headers: OutboundResponse['headers']): void {
    if (this.#isSettled || status < 200) return
    this.#status = status
    this.#headers = headers
    this.#take = this.#request.onHead?.({ status, headers }) ?? null
    this.#checkSize(Number(headers['content-length'] ?? 0))
    if (this.#isSettled) return
    this.#enter('timeout_idle', this.#request.timeouts.idleMs)
  }

  onResponseData(_controller: unknown, chunk: Buffer): void {
    if (this.#isSettled) return
    this.#sizeBytes += chunk.length
    this.#phaseTimer?.refresh()
    this.#checkSize(this.#sizeBytes)
    if (this.#isSettled) return
    if (this.#take) this.#handOn(this.#take, chunk)
    else this.#chunks.push(chunk)
  }

  #handOn(take: (piece: Buffer) => void, chunk: Buffer): void {
    try {
      take(chunk)
    } catch (error) {
      if (error instanceof OutboundError) this.#giveUp(error.kind, error.message)
      else this.#giveUp('protocol', 'The answer can not be read.')
    }
  }

  onResponseEnd(): void {
    if (!this.#settle()) return
    this.#done({ status: this.#status, headers: this.#headers, body: Buffer.concat(this.#chunks) })
  }

  onResponseError(_controller: unknown, error: Error): void {
    if (!this.#settle()) return
    const code = 'code' in error && typeof error.code === 'string' ? error.code : 'unknown'
    const isSent = this.#controller !== null
    if (code === 'UND_ERR_DESTROYED' || code === 'UND_ERR_CLOSED') {
      this.#failed(new OutboundError('aborted', isSent, 'The gateway is shutting down.'))
    } else if (!isSent) {
      this.#failed(error)
    } else if (error.name === 'HTTPParserError' || code === 'UND_ERR_HEADERS_OVERFLOW') {
      this.#failed(new OutboundError('protocol', true, 'The answer is not valid HTTP.'))
    } else {
      this.#failed(new OutboundError('reset', true, 'The connection broke before the answer was complete.'))
    }
  }

  #onAbort = (): void => this.#giveUp('aborted', 'The call was given up.')

  #checkSize(sizeBytes: number): void {
    const { maxResponseBytes, maxStreamBytes = maxResponseBytes } = this.#request
    const maxBytes = this.#take ? maxStreamBytes : maxResponseBytes
    if (sizeBytes > maxBytes) this.#giveUp('too_large', `The answer is larger than ${maxBytes} bytes.`)
  }

  #enter(phase: Phase, limitMs: number): void {
    clearTimeout(this.#phaseTimer)
    this.#phaseTimer = undefined
    // A phase that may last as long as the whole call needs no clock of its own.
    if (limitMs >= this.#request.timeouts.totalMs) return
    this.#phaseTimer = setTimeout(() => this.#giveUp(phase, `${LATE[phase]} within ${limitMs} ms.`), limitMs)
  }

  #giveUp(kind: OutboundErrorKind, message: string): void {
    if (!this.#settle()) return
    const error = new OutboundError(kind, this.#controller !== null, message)
    this.#failed(error)
    this.#controller?.abort(error)
  }

  #settle(): boolean {
    if (this.#isSettled) return false
    this.#isSettled = true
    clearTimeout(this.#total)
    clearTimeout(this.#phaseTimer)
    this.#request.signal.removeEventListener('abort', this.#onAbort)
    return true
  }
}

const LATE: Record<Phase, string> = {
  timeout_connect: 'No connection',
  timeout_first_byte: 'No answer began',
  timeout_idle: 'Nothing more came',
}
