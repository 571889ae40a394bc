import { createServer, type RequestListener } from 'node:http'
import net, { type AddressInfo, type Socket } from 'node:net'
import { afterEach, expect, test } from 'vitest'
import { createProviders } from '../../worker/providers/registry.ts'
import { eventually } from '../support/eventually.ts'
import { callOf, createLocalOutbound } from './provider-calls.ts'

const closers: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close()
})

/** A server that counts its sockets: of HTTP, or one that takes connections and never says a word. */
async function serve(handle: RequestListener | null) {
  const sockets = new Set<Socket>()
  const server = handle ? createServer(handle) : net.createServer()
  server.on('connection', (socket: Socket) => {
    sockets.add(socket)
    // Without a reader its end would never be seen.
    if (!handle) socket.resume()
    socket.on('error', () => {})
    socket.once('close', () => sockets.delete(socket))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  closers.push(() => {
    for (const socket of sockets) socket.destroy()
    return new Promise((resolve) => server.close(resolve))
  })
  return { port: (server.address() as AddressInfo).port, sockets }
}

/** One call with short caps of connecting and of silence, and how long it took. */
async function call(
  api_base: string,
  timeoutMs: number,
  { signal = new AbortController().signal, idleMs = 90 }: { signal?: AbortSignal; idleMs?: number } = {},
) {
  // A connection on its way is its pool's, which another call may be waiting for: it has this cap, not the call's.
  const outbound = createLocalOutbound({ connectMs: 500 })
  closers.push(() => outbound.close())
  const providerOf = createProviders(outbound, { connectMs: 80, idleMs })
  const started = performance.now()
  const made = callOf({ api_base }, undefined, { timeoutMs, signal })
  const outcome = await providerOf(made.bundle).call(made)
  return { outcome, tookMs: performance.now() - started }
}

const hang: RequestListener = (request) => void request.resume()
const stall: RequestListener = (_request, response) => void response.write('{"choices":')
const drip: RequestListener = (_request, response) => {
  const timer = setInterval(() => response.write(' '), 10)
  response.once('close', () => clearInterval(timer))
}

test('no connection within its cap is a failure to connect, and nothing was sent', async () => {
  const { port } = await serve(null)
  const { outcome, tookMs } = await call(`https://127.0.0.1:${port}`, 10_000)
  expect(outcome).toMatchObject({ error: { class: 'api_connection', isPossiblyBilled: false } })
  expect(outcome).toMatchObject({ error: { message: 'No connection within 80 ms.' } })
  expect(tookMs).toBeGreaterThanOrEqual(75)
})

test.each([
  ['a first byte may take as long as the whole call', hang, 300, 90, 295],
  ['silence within an answer has a cap of its own', stall, 60_000, 90, 85],
  ['an answer that never ends is cut at the timeout of the call', drip, 1_500, 1_000, 1_495],
])('%s', async (_name, handle, timeoutMs, idleMs, atLeastMs) => {
  const { port, sockets } = await serve(handle)
  const { outcome, tookMs } = await call(`http://127.0.0.1:${port}`, timeoutMs, { idleMs })
  expect(outcome).toMatchObject({ error: { class: 'timeout', isRetryable: true, isPossiblyBilled: true } })
  expect(tookMs).toBeGreaterThanOrEqual(atLeastMs)
  expect(tookMs).toBeLessThan(20_000)
  await eventually('the socket is closed', () => sockets.size === 0)
})

test('a timeout shorter than the cap of connecting counts for connecting, too', async () => {
  const { port } = await serve(null)
  const { outcome } = await call(`https://127.0.0.1:${port}`, 30)
  expect(outcome).toMatchObject({ error: { message: 'No answer within 30 ms.', isPossiblyBilled: false } })
})

test.each([
  ['connecting', null, 'https'],
  ['waiting for the head', hang, 'http'],
  ['reading', drip, 'http'],
])('an abort while %s is over at once, and the socket is closed', async (_phase, handle, scheme) => {
  const { port, sockets } = await serve(handle)
  const stop = new AbortController()
  const running = call(`${scheme}://127.0.0.1:${port}`, 60_000, { signal: stop.signal })
  await eventually('the call stands', () => sockets.size === 1)
  const abortedAt = performance.now()
  stop.abort()
  const { outcome } = await running
  // Not after the call's minute.
  expect(performance.now() - abortedAt).toBeLessThan(20_000)
  expect(outcome).toMatchObject({ error: { class: 'api_connection' } })
  await eventually('the socket is closed', () => sockets.size === 0)
})
