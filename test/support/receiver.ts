import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

/** One webhook as it arrived. `text` is the exact body that was signed. */
export type Received = {
  number: number
  path: string
  headers: IncomingHttpHeaders
  text: string
  event: { id: string; type: string; data: Record<string, unknown> }
  /** `performance.now()` milliseconds. */
  at: number
}

/** What the receiver answers; it may do its own work first, such as reading the job. */
export type Receive = (delivery: Received) => Reply | Promise<Reply>

/** A status, with headers or without. */
type Reply = number | { status: number; headers: Record<string, string> }

/** A webhook receiver on 127.0.0.1 that keeps every delivery. Answers 200 until it is told otherwise. */
export async function startReceiver(receive: Receive = () => 200) {
  const received: Received[] = []
  let current = receive

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk as Buffer)
    const text = Buffer.concat(chunks).toString('utf8')
    const delivery: Received = {
      number: received.length + 1,
      path: request.url ?? '',
      headers: request.headers,
      text,
      event: JSON.parse(text),
      at: performance.now(),
    }
    received.push(delivery)
    const reply = await current(delivery)
    const { status, headers } = typeof reply === 'number' ? { status: reply, headers: {} } : reply
    const location = status >= 300 && status < 400 ? { location: '/elsewhere' } : {}
    response.writeHead(status, { ...location, ...headers }).end()
  }

  const server = createServer((request, response) => void serve(request, response))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo

  return {
    url: `http://127.0.0.1:${port}/hook`,
    received,
    answer(next: Receive) {
      current = next
    },
    async close() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

export type TestReceiver = Awaited<ReturnType<typeof startReceiver>>
