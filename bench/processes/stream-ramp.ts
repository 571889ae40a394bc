// Opens so many streams, one after the other in even steps, reads each to its end beside all others, and holds every byte against
// what the upstream sends. Told the pace and what to do by messages, answers each.
import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { createAnswerReader } from '../support/answer-reader.ts'
import { requestBytes, type BenchRequest } from '../support/requests.ts'
import { streamedEvents, type Pace } from '../support/stream-answer.ts'

/** So many streams, opened within so long. */
export type RampOrder = { request: BenchRequest; streams: number; overMs: number }

/** Milliseconds from each request to its first event; how many streams were open at once. */
export type RampResult = {
  firstMs: number[]
  inFlightMax: number
  errors: number
  firstError: string | null
}

/** How long a stream may say nothing. */
const SILENT_MS = 60_000

let expected: Buffer = Buffer.alloc(0)
let firstBytes = 0

async function run({ request, streams, overMs }: RampOrder): Promise<RampResult> {
  const bytes = requestBytes(request)
  const url = new URL(request.url)
  const result: RampResult = { firstMs: [], inFlightMax: 0, errors: 0, firstError: null }
  let inFlight = 0

  async function readOne(after: number): Promise<void> {
    await sleep(after)
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const socket = connect({ host: url.hostname, port: Number(url.port), noDelay: true, timeout: SILENT_MS })
    const read = createAnswerReader(request.status, expected)
    let [sentAt, hasBegun] = [0, false]
    socket.on('connect', () => {
      sentAt = performance.now()
      socket.write(bytes)
    })
    socket.on('data', (piece) => {
      const answer = read(piece)
      if (answer.fault !== null) socket.destroy(new Error(answer.fault))
      if (!hasBegun && answer.bytes >= firstBytes) {
        hasBegun = true
        inFlight += 1
        result.inFlightMax = Math.max(result.inFlightMax, inFlight)
        result.firstMs.push(performance.now() - sentAt)
      }
      if (!answer.isComplete) return
      resolve()
      socket.destroy()
    })
    socket.on('timeout', () => socket.destroy(new Error(`nothing came for ${SILENT_MS} ms`)))
    socket.on('error', reject)
    socket.on('close', () => reject(new Error('the connection was closed before the end of the stream')))
    try {
      await promise
    } finally {
      if (hasBegun) inFlight -= 1
    }
  }

  const all = Array.from({ length: streams }, (_, at) => readOne((at * overMs) / streams))
  for (const one of await Promise.allSettled(all)) {
    if (one.status === 'fulfilled') continue
    result.errors += 1
    result.firstError ??= String(one.reason)
  }
  return result
}

process.on('message', (message: RampOrder | { pace: Pace }) => {
  if ('pace' in message) {
    const events = streamedEvents(message.pace.chunks)
    firstBytes = events[0]?.length ?? 0
    expected = Buffer.concat(events)
    process.send?.({})
  } else void run(message).then((result) => process.send?.(result))
})
process.on('disconnect', () => process.exit())
process.send?.({ url: '' })
