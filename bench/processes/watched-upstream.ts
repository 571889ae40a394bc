// A provider that answers in so many milliseconds, or holds its answers until it is told to let them go, and a receiver of
// webhooks (`/hook`). It notes by the shared clock when each call came and was answered, and when each webhook came. Told what
// to do by messages, answers each with what it has noted.
import { createServer, type ServerResponse } from 'node:http'
import { sharedNowMs } from '../support/clock.ts'
import { COMPLETION } from '../support/completion.ts'

/** What it is told: how long it takes to answer, 'held' = until it is told otherwise. */
export type WatchedOrder = { delayMs?: number | 'held' }

/** What was noted since it was last asked, and how many calls wait for their answers now, and did at most so far. */
export type Watched = {
  cameAt: number[]
  answeredAt: number[]
  hookedAt: number[]
  inFlight: number
  inFlightMax: number
}

const headers = {
  'content-type': 'application/json',
  'content-length': COMPLETION.length,
  'x-request-id': 'bench',
}

let delayMs: number | 'held' = 0
let noted = nothing()
let inFlightMax = 0
const held = new Set<ServerResponse>()

function nothing() {
  return { cameAt: [] as number[], answeredAt: [] as number[], hookedAt: [] as number[] }
}

function answer(response: ServerResponse): void {
  held.delete(response)
  response.writeHead(200, headers).end(COMPLETION)
  noted.answeredAt.push(sharedNowMs())
}

const server = createServer({ keepAliveTimeout: 120_000, noDelay: true }, (request, response) => {
  const cameAt = sharedNowMs()
  request.resume().once('end', () => {
    if (request.url === '/hook') {
      noted.hookedAt.push(cameAt)
      response.writeHead(204).end()
      return
    }
    noted.cameAt.push(cameAt)
    held.add(response)
    inFlightMax = Math.max(inFlightMax, held.size)
    if (delayMs !== 'held') setTimeout(() => answer(response), delayMs)
  })
})
server.listen(0, '127.0.0.1', () => {
  const address = server.address()
  if (address && typeof address === 'object') process.send?.({ url: `http://127.0.0.1:${address.port}` })
})
process.on('message', (order: WatchedOrder) => {
  if (delayMs === 'held' && order.delayMs !== undefined && order.delayMs !== 'held') {
    for (const response of held) answer(response)
  }
  delayMs = order.delayMs ?? delayMs
  process.send?.({ ...noted, inFlight: held.size, inFlightMax })
  noted = nothing()
})
process.on('disconnect', () => process.exit())
