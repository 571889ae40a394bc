// A provider that answers every POST with the same completion, at once or in as many milliseconds as it is told, and counts
// them.
import { createServer } from 'node:http'
import { COMPLETION } from '../support/completion.ts'

const headers = {
  'content-type': 'application/json',
  'content-length': COMPLETION.length,
  'x-request-id': 'bench',
}

let calls = 0
let delayMs = 0
const server = createServer({ keepAliveTimeout: 120_000 }, (request, response) => {
  request.resume().once('end', () => {
    calls += 1
    if (delayMs === 0) response.writeHead(200, headers).end(COMPLETION)
    else setTimeout(() => response.writeHead(200, headers).end(COMPLETION), delayMs)
  })
})
server.listen(0, '127.0.0.1', () => {
  const address = server.address()
  if (address && typeof address === 'object') process.send?.({ url: `http://127.0.0.1:${address.port}` })
})
process.on('message', (message: { delayMs?: number }) => {
  delayMs = message.delayMs ?? delayMs
  process.send?.({ calls })
})
process.on('disconnect', () => process.exit())
