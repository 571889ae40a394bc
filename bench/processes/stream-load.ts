// Opens one stream after the other on each of n connections for a number of seconds, and reads each to its end, on raw
// sockets as load-generator.ts does. Every byte is held against what the upstream sends. Told the pace and what to do by
// messages, answers each.
import { connect, type Socket } from 'node:net'
import { createAnswerReader } from '../support/answer-reader.ts'
import { requestBytes } from '../support/requests.ts'
import { streamedEvents, type Pace } from '../support/stream-answer.ts'
import type { LoadOrder, LoadResult } from './load-generator.ts'

/** After its time is over a run waits this long for the last streams. */
const DRAIN_MS = 60_000
const REOPEN_MS = 100

let firstBytes = 0
let expected: Buffer = Buffer.alloc(0)

/** One stream, read whole: milliseconds from the request to its first event and to its end, and HTTP chunks. */
type Streamed = { firstMs: number; wholeMs: number; frames: number }

function run({ request, connections, seconds }: LoadOrder): Promise<LoadResult> {
  const bytes = requestBytes(request)
  const url = new URL(request.url)
  const streams: Streamed[] = []
  const errors = { count: 0, first: null as string | null }
  const sockets = new Set<Socket>()
  const { promise, resolve } = Promise.withResolvers<LoadResult>()
  const startedAt = performance.now()
  const stopAt = startedAt + seconds * 1000
  const giveUp = setTimeout(
    () => {
      for (const socket of sockets) socket.destroy(new Error(`no end ${DRAIN_MS} ms after the run's`))
    },
    seconds * 1000 + DRAIN_MS,
  )

  function fail(text: string): void {
    errors.count += 1
    errors.first ??= text
  }

  function open(): void {
    const socket = connect({ host: url.hostname, port: Number(url.port), noDelay: true })
    sockets.add(socket)
    let read = createAnswerReader(request.status, expected)
    let sentAt = 0
    let firstAt = 0
    const send = () => {
      read = createAnswerReader(request.status, expected)
      firstAt = 0
      sentAt = performance.now()
      socket.write(bytes)
    }
    socket.on('connect', send)
    socket.on('data', (piece) => {
      if (sentAt === 0) return
      const answer = read(piece)
      if (answer.fault !== null) socket.destroy(new Error(answer.fault))
      else if (firstAt === 0 && answer.bytes >= firstBytes) firstAt = performance.now()
      if (answer.fault !== null || !answer.isComplete) return
      const now = performance.now()
      streams.push({ firstMs: firstAt - sentAt, wholeMs: now - sentAt, frames: answer.frames })
      sentAt = 0
      if (now < stopAt) send()
      else socket.destroy()
    })
    socket.on('error', (error) => {
      sentAt = -1
      fail(error.message)
    })
    socket.on('close', () => {
      if (sentAt > 0) fail('the connection was closed before the end of the stream')
      // Not at once: a server that refuses connections must not be called in a tight loop.
      setTimeout(
        () => {
          sockets.delete(socket)
          if (performance.now() < stopAt) open()
          else if (sockets.size === 0) finish()
        },
        sentAt === 0 ? 0 : REOPEN_MS,
      )
    })
  }

  function finish(): void {
    clearTimeout(giveUp)
    const elapsedSeconds = (performance.now() - startedAt) / 1000
    resolve({
      ...summarize(streams),
      errors: errors.count,
      firstError: errors.first,
      seconds: elapsedSeconds,
    })
  }

  for (let count = 0; count < connections; count += 1) open()
  return promise
}

function summarize(streams: readonly Streamed[]) {
  const at = (pick: (stream: Streamed) => number, share: number) => {
    const sorted = Float64Array.from(streams, pick).toSorted()
    return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0
  }
  return {
    requests: streams.length,
    p50Ms: at(({ firstMs }) => firstMs, 0.5),
    p99Ms: at(({ firstMs }) => firstMs, 0.99),
    figures: { wholeP50Ms: at(({ wholeMs }) => wholeMs, 0.5), frames: at(({ frames }) => frames, 0.5) },
  }
}

process.on('message', (message: LoadOrder | { pace: Pace }) => {
  if ('pace' in message) {
    const events = streamedEvents(message.pace.chunks)
    firstBytes = events[0]?.length ?? 0
    expected = Buffer.concat(events)
    process.send?.({})
  } else void run(message).then((result) => process.send?.(result))
})
process.on('disconnect', () => process.exit())
process.send?.({ url: '' })
