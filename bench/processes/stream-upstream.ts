// A provider that streams the same completion to every POST, and counts them. Its pace is set by messages, each answered
// with the count. The first chunk leaves at once, with the head.
import { createServer, type ServerResponse } from 'node:http'
import { streamedEvents, type Pace } from '../support/stream-answer.ts'

const headers = { 'content-type': 'text/event-stream', 'x-request-id': 'bench' }

let calls = 0
let pace: Pace = { chunks: 2, intervalMs: 0 }
let events = streamedEvents(pace.chunks)

function stream(response: ServerResponse): void {
  const mine = events
  const { intervalMs } = pace
  let next = 0
  const sendOne = () => {
    const event = mine[next]
    next += 1
    // [DONE] goes with the last chunk, as providers do.
    const last = next === mine.length - 1 ? mine[next] : undefined
    if (event && !last) response.write(event)
    else if (event && last) response.end(Buffer.concat([event, last]))
    return last === undefined && !response.destroyed
  }
  response.writeHead(200, headers)
  if (!sendOne()) return
  if (intervalMs > 0) {
    const timer = setInterval(() => {
      if (!sendOne()) clearInterval(timer)
    }, intervalMs)
    return
  }
  const goOn = () => {
    if (sendOne()) setImmediate(goOn)
  }
  setImmediate(goOn)
}

const server = createServer({ keepAliveTimeout: 120_000, noDelay: true }, (request, response) => {
  request.resume().once('end', () => {
    calls += 1
    stream(response)
  })
})
server.listen(0, '127.0.0.1', () => {
  const address = server.address()
  if (address && typeof address === 'object') process.send?.({ url: `http://127.0.0.1:${address.port}` })
})
process.on('message', (message: { pace?: Pace }) => {
  if (message.pace) {
    pace = message.pace
    events = streamedEvents(pace.chunks)
  }
  process.send?.({ calls })
})
process.on('disconnect', () => process.exit())
