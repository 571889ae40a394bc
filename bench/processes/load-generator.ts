// Sends one HTTP request over and over, one at a time on each of n connections, for a number of seconds. Raw sockets: it
// shares the machine with what it measures, and a client library would cost more than some of that. Told what to do by
// messages, answers each with a LoadResult.
import { connect, type Socket } from 'node:net'
import { requestBytes, type BenchRequest } from '../support/requests.ts'

/** What one run of load is. It ends after its seconds, or when so many requests were sent. */
export type LoadOrder = {
  request: BenchRequest
  connections: number
  seconds: number
  requestsMax?: number
}

/**
 * What one run of load gave. Failed requests are in `errors` only. Of streams, the milliseconds are those to the first event;
 * `figures` has what else is known of them.
 */
export type LoadResult = {
  requests: number
  errors: number
  firstError: string | null
  seconds: number
  p50Ms: number
  p99Ms: number
  figures?: Record<string, number>
}

/** After its time is over a run waits this long for the last answers. */
const DRAIN_MS = 30_000
const REOPEN_MS = 100
const HEAD_END = Buffer.from('\r\n\r\n')
const LAST_CHUNK = Buffer.from('0\r\n\r\n')

/** Goes on from one run to the next: no number comes twice. */
let counted = 0

function run(order: LoadOrder): Promise<LoadResult> {
  const { request, connections, seconds, requestsMax = Infinity } = order
  const urls = (request.origins ?? [request.url]).map((origin) => new URL(origin))
  const nextRequest = createRequests(request)
  let sent = 0
  const latencies: number[] = []
  const errors = { count: 0, first: null as string | null }
  const sockets = new Set<Socket>()
  const { promise, resolve } = Promise.withResolvers<LoadResult>()
  const startedAt = performance.now()
  const stopAt = startedAt + seconds * 1000
  const giveUp = setTimeout(
    () => fail(`no answer ${DRAIN_MS} ms after the end`, sockets.size),
    seconds * 1000 + DRAIN_MS,
  )

  function fail(text: string, count = 1): void {
    errors.count += count
    errors.first ??= text
    if (text.startsWith('no answer')) for (const socket of sockets) socket.destroy()
  }

  const isOver = () => performance.now() >= stopAt || sent >= requestsMax

  function open(connection: number): void {
    const url = urls[connection % urls.length]
    const socket = connect({ host: url?.hostname, port: Number(url?.port), noDelay: true })
    sockets.add(socket)
    let sentAt = 0
    let isBroken = false
    let rest: Buffer | null = null
    const send = () => {
      sentAt = performance.now()
      sent += 1
      socket.write(nextRequest())
    }
    socket.on('connect', send)
    socket.on('data', (chunk) => {
      const answer = rest ? Buffer.concat([rest, chunk]) : chunk
      const status = completeStatus(answer)
      rest = status === null ? answer : null
      if (status === null) return
      const now = performance.now()
      if (status === request.status) latencies.push(now - sentAt)
      else fail(`status ${status}: ${answer.toString('utf8').slice(0, 1000)}`)
      sentAt = 0
      if (isOver()) socket.destroy()
      else send()
    })
    socket.on('error', (error) => {
      isBroken = true
      fail(error.message)
    })
    socket.on('close', () => {
      if (sentAt > 0 && !isBroken) fail('the connection was closed before the answer')
      // Not at once: a server that refuses connections must not be called in a tight loop.
      setTimeout(
        () => {
          sockets.delete(socket)
          if (!isOver()) open(connection)
          else if (sockets.size === 0) finish()
        },
        sentAt > 0 || isBroken ? REOPEN_MS : 0,
      )
    })
  }

  function finish(): void {
    clearTimeout(giveUp)
    const sorted = Float64Array.from(latencies).toSorted()
    const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0
    resolve({
      requests: sorted.length,
      errors: errors.count,
      firstError: errors.first,
      seconds: (performance.now() - startedAt) / 1000,
      p50Ms: at(0.5),
      p99Ms: at(0.99),
    })
  }

  for (let count = 0; count < connections; count += 1) open(count)
  return promise
}

// The same bytes each time, but for the counter.
function createRequests(request: BenchRequest): () => Buffer {
  const bytes = requestBytes(request)
  const { counter } = request
  if (counter === undefined) return () => bytes
  const places: number[] = []
  for (let at = bytes.indexOf(counter); at >= 0; at = bytes.indexOf(counter, at + 1)) places.push(at)
  return () => {
    counted += 1
    const next = Buffer.from(bytes)
    for (const at of places) next.write(String(counted).padStart(counter.length, '0'), at, 'latin1')
    return next
  }
}

/** The status of a response that is here whole, else null. */
function completeStatus(answer: Buffer): number | null {
  const headEnd = answer.indexOf(HEAD_END)
  if (headEnd < 0) return null
  const head = answer.toString('latin1', 0, headEnd)
  const status = Number(head.slice(9, 12))
  const length = /\r\ncontent-length: *(\d+)/i.exec(head)?.[1]
  if (length !== undefined) return answer.length >= headEnd + 4 + Number(length) ? status : null
  // Chunked: nothing follows the last chunk, since no second request was sent.
  return answer.subarray(-LAST_CHUNK.length).equals(LAST_CHUNK) ? status : null
}

process.on('message', (order: LoadOrder) => {
  void run(order).then((result) => process.send?.(result))
})
process.on('disconnect', () => process.exit())
process.send?.({ url: '' })
