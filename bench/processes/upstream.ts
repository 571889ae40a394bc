// A provider that answers every POST with the same completion, at once or in as many milliseconds as it is told, and counts
// them.
import { createServer } from 'node:http'

const completion = Buffer.from(
  JSON.stringify({
    id: 'chatcmpl-bench',
    object: 'chat.completion',
    created: 1_700_000_000,
    model: 'gpt-3.5-turbo',
    choices: [
      {
        index: 0,
        message: { role: 'assistant', content: 'Roses are red, '.repeat(16) },
        logprobs: null,
        finish_reason: 'stop',
      },
    ],
    usage: { prompt_tokens: 256, completion_tokens: 64, total_tokens: 320 },
  }),
)
const headers = {
  'content-type': 'application/json',
  'content-length': completion.length,
  'x-request-id': 'bench',
}

let calls = 0
let delayMs = 0
const server = createServer({ keepAliveTimeout: 120_000 }, (request, response) => {
  request.resume().once('end', () => {
    calls += 1
    if (delayMs === 0) response.writeHead(200, headers).end(completion)
    else setTimeout(() => response.writeHead(200, headers).end(completion), delayMs)
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
