// Takes what OpenTelemetry exports over HTTP and forgets it. Answers each message with how much came.
import { createServer } from 'node:http'

let [requests, bytes] = [0, 0]
const server = createServer({ keepAliveTimeout: 120_000 }, (request, response) => {
  request.on('data', (piece: Buffer) => (bytes += piece.length))
  request.once('end', () => {
    requests += 1
    response.writeHead(200, { 'content-type': request.headers['content-type'] ?? 'application/json' })
    response.end(request.headers['content-type']?.includes('json') ? '{}' : '')
  })
})
server.listen(0, '127.0.0.1', () => {
  const address = server.address()
  if (address && typeof address === 'object') process.send?.({ url: `http://127.0.0.1:${address.port}` })
})
process.on('message', () => process.send?.({ requests, bytes }))
process.on('disconnect', () => process.exit())
