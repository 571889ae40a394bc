// A provider that holds each key to its requests and tokens in any span of one window, exactly, as it comes: what would be one
// too many gets a 429 with the time after which it would not be. Told its limits by messages, answers each with what it saw.
import { createServer } from 'node:http'
import { sharedNowMs } from '../support/clock.ts'
import { COMPLETION } from '../support/completion.ts'

/** Of a key: how many requests and tokens it may have in a window; each call takes `tokensEach`. */
export type KeyLimit = { requests: number; tokens: number }
export type LimitOrder = { windowMs?: number; tokensEach?: number; limits?: Record<string, KeyLimit> }

/** Of a key: when each call was answered with a result, and how many were refused. */
export type SeenKey = { takenAt: number[]; refused: number }
export type SeenKeys = Record<string, SeenKey>

const ANSWER_MS = 50

let windowMs = 60_000
let tokensEach = 320
let limits: Record<string, KeyLimit> = {}
let seen: SeenKeys = {}

const server = createServer({ keepAliveTimeout: 120_000 }, (request, response) => {
  const atMs = sharedNowMs()
  request.resume().once('end', () => {
    const key = request.headers.authorization?.replace('Bearer ', '') ?? ''
    const { requests = Infinity, tokens = Infinity } = limits[key] ?? {}
    const mine = (seen[key] ??= { takenAt: [], refused: 0 })
    // Of as many calls as fit into a window the first must be out of it.
    const fit = Math.min(requests, Math.floor(tokens / tokensEach))
    const first = mine.takenAt.at(-fit)
    if (mine.takenAt.length >= fit && first !== undefined && first > atMs - windowMs) {
      mine.refused += 1
      const waitS = Math.ceil((first + windowMs - atMs) / 1000)
      response.writeHead(429, { 'content-type': 'application/json', 'retry-after': String(waitS) })
      response.end(
        '{"error":{"message":"Rate limit reached","type":"requests","code":"rate_limit_exceeded"}}',
      )
      return
    }
    mine.takenAt.push(atMs)
    setTimeout(
      () => response.writeHead(200, { 'content-type': 'application/json' }).end(COMPLETION),
      ANSWER_MS,
    )
  })
})
server.listen(0, '127.0.0.1', () => {
  const address = server.address()
  if (address && typeof address === 'object') process.send?.({ url: `http://127.0.0.1:${address.port}` })
})
process.on('message', (order: LimitOrder) => {
  windowMs = order.windowMs ?? windowMs
  tokensEach = order.tokensEach ?? tokensEach
  if (order.limits) [limits, seen] = [order.limits, {}]
  process.send?.(seen)
})
process.on('disconnect', () => process.exit())
