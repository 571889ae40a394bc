import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import net, { type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterEach, expect, test } from 'vitest'
import { createEgressPolicy } from '../../shared/egress.ts'
import type { OutboundRequest } from '../../worker/exchange.ts'
import { createOutbound } from '../../worker/outbound.ts'
import { createCertificates } from '../support/certificates.ts'
import { eventually, gate } from '../support/eventually.ts'
import { completion, startProvider } from '../support/provider.ts'

const closers: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close()
})

const OPENED = createEgressPolicy({ allowedCidrs: ['127.0.0.1/32'] })
const TIMEOUTS = { connectMs: 60_000, firstByteMs: 60_000, idleMs: 60_000, totalMs: 60_000 }

function outboundWith(options: Partial<Parameters<typeof createOutbound>[0]> = {}) {
  const outbound = createOutbound({ policy: OPENED, ...options })
  closers.push(() => outbound.close())
  return outbound
}

function request(url: string, changes: Partial<OutboundRequest> = {}): OutboundRequest {
  const { signal } = new AbortController()
  return { url, headers: {}, body: '{}', timeouts: TIMEOUTS, maxResponseBytes: 100_000, signal, ...changes }
}

async function provider(options: Parameters<typeof startProvider>[0] = {}) {
  const started = await startProvider(options)
  closers.push(() => started.close())
  return started
}

/** A server on all local addresses, so that an unchecked address would be served. */
async function serve(handle: (request: IncomingMessage, response: ServerResponse) => void) {
  const server = createServer(handle)
  await new Promise<void>((resolve) => server.listen(0, '0.0.0.0', resolve))
  closers.push(() => {
    server.closeAllConnections()
    return new Promise((resolve) => server.close(resolve))
  })
  return (server.address() as AddressInfo).port
}

test('an answer comes back byte for byte, with what was sent and nothing added', async () => {
  const upstream = await provider()
  const { url, ledger } = upstream
  upstream.answer(() => ({ kind: 'reply', status: 418, body: '{ "odd":  1.0 }\n' }))
  const sent = request(`${url}/v1/chat?x=1`, { headers: { authorization: 'Bearer k' }, body: '{"a":1}' })
  const response = await outboundWith().post(sent)
  expect(response).toMatchObject({ status: 418, body: Buffer.from('{ "odd":  1.0 }\n') })
  expect(response.headers['x-request-id']).toBe('up-1')
  expect(ledger).toMatchObject([{ method: 'POST', path: '/v1/chat?x=1', key: 'k', body: { a: 1 } }])
  expect(Object.keys(ledger[0]?.headers ?? {}).toSorted()).toEqual(
    ['accept-encoding', 'authorization', 'connection', 'content-length', 'host'].toSorted(),
  )
  expect(ledger[0]?.headers['accept-encoding']).toBe('identity')
})

test.each([301, 302, 303, 307, 308])('a redirect (%i) is an answer and is never followed', async (status) => {
  const target = await provider()
  const upstream = await provider()
  const { url } = upstream
  const locations = [
    `${target.url}/stolen`,
    'http://169.254.169.254/latest/meta-data/',
    'https://example.com/',
  ]
  const outbound = outboundWith()
  for (const location of locations) {
    upstream.answer(() => ({ kind: 'reply', status, body: '', headers: { location } }))
    const response = await outbound.post(request(url, { headers: { authorization: 'Bearer k' } }))
    expect(response.status).toBe(status)
  }
  expect(target.ledger).toEqual([])
})

test('a name is refused when any one of its addresses is not allowed', async () => {
  let visits = 0
  const port = await serve((_request, response) => {
    visits += 1
    response.end('{}')
  })
  for (const addresses of [
    ['127.0.0.2'],
    ['127.0.0.1', '10.0.0.1'],
    ['127.0.0.1', '169.254.169.254'],
    [],
    ['x'],
  ]) {
    const outbound = outboundWith({ resolve: () => Promise.resolve(addresses) })
    const call = outbound.post(request(`http://mixed.example:${port}/`))
    await expect(call).rejects.toMatchObject({ kind: 'refused', requestSent: false })
  }
  expect(visits).toBe(0)
})

test('a name that turns private between two connects is refused at the second, and only asked once a connect', async () => {
  let visits = 0
  const port = await serve((_request, response) => {
    visits += 1
    response.setHeader('connection', 'close').end('{}')
  })
  const answers = [['127.0.0.1'], ['127.0.0.2']]
  let asked = 0
  const resolve = () => Promise.resolve(answers[asked++] ?? [])
  const outbound = outboundWith({ resolve })
  const url = `http://rebind.example:${port}/`
  expect((await outbound.post(request(url))).status).toBe(200)
  await expect(outbound.post(request(url))).rejects.toMatchObject({ kind: 'refused', requestSent: false })
  expect({ visits, asked }).toEqual({ visits: 1, asked: 2 })
})

test('literal private addresses are refused, and so is plain http outside of opened networks', async () => {
  const outbound = outboundWith({ resolve: () => Promise.resolve(['8.8.8.8']) })
  for (const url of [
    'http://127.0.0.2:1/',
    'https://10.0.0.1/',
    'http://[::1]:1/',
    'http://public.example/',
    'x',
  ]) {
    await expect(outbound.post(request(url))).rejects.toMatchObject({ kind: 'refused', requestSent: false })
  }
})

test("the gateway's own port is refused though its network is open, by name and by address", async () => {
  const { port, ledger } = await provider()
  const policy = createEgressPolicy({
    allowedCidrs: ['127.0.0.0/8'],
    forbidden: [{ host: '127.0.0.1', port }],
  })
  const outbound = outboundWith({ policy, resolve: () => Promise.resolve(['127.0.0.1']) })
  for (const host of ['127.0.0.1', 'localhost', 'me.example', '127.1']) {
    await expect(outbound.post(request(`http://${host}:${port}/`))).rejects.toMatchObject({ kind: 'refused' })
  }
  expect(ledger).toEqual([])
})

test("an operator's base is reached unguarded, and opens no way for a client's URL of the same origin", async () => {
  const { url, ledger } = await provider()
  const outbound = outboundWith({ policy: createEgressPolicy({ allowedCidrs: ['10.9.9.9/32'] }) })
  expect((await outbound.post(request(url, { trustedOrigin: true }))).status).toBe(200)
  await expect(outbound.post(request(url))).rejects.toMatchObject({ kind: 'refused' })
  expect(ledger).toHaveLength(1)
})

test('GATEWAY_TEST_RESOLVE sends a public name to a test server under its own TLS name and authority', async () => {
  const { ca, ...tls } = createCertificates(['api.openai.com'])
  const folder = mkdtempSync(join(tmpdir(), 'outbound-'))
  closers.push(() => rmSync(folder, { recursive: true }))
  const testCaFile = join(folder, 'ca.pem')
  writeFileSync(testCaFile, ca)
  const { port, ledger } = await provider({ tls })
  const testResolve = [`api.openai.com=127.0.0.1:${port}`, `other.example=127.0.0.1:${port}`]
  const trusting = outboundWith({ testResolve, testCaFile })
  expect((await trusting.post(request('https://api.openai.com/v1'))).status).toBe(200)
  expect(ledger[0]?.host).toBe('api.openai.com')
  const wrongName = trusting.post(request('https://other.example/v1'))
  await expect(wrongName).rejects.toMatchObject({ kind: 'connect', requestSent: false })
  const wrongAuthority = outboundWith({ testResolve }).post(request('https://api.openai.com/v1'))
  await expect(wrongAuthority).rejects.toMatchObject({ kind: 'connect', requestSent: false })
  const closed = outboundWith({ testResolve, testCaFile, policy: createEgressPolicy({ allowedCidrs: [] }) })
  await expect(closed.post(request('https://api.openai.com/'))).rejects.toMatchObject({ kind: 'refused' })
  expect(ledger).toHaveLength(1)
})

test('an answer over the cap is cut off, whether it says its size or not', async () => {
  const sized = await serve((_request, response) => response.end('x'.repeat(100_001)))
  const endless = await serve((_request, response) => {
    const timer = setInterval(() => response.write('x'.repeat(50_000)), 1)
    response.once('close', () => clearInterval(timer))
  })
  const outbound = outboundWith()
  for (const port of [sized, endless]) {
    const call = outbound.post(request(`http://127.0.0.1:${port}/`))
    await expect(call).rejects.toMatchObject({ kind: 'too_large', requestSent: true })
  }
})

test('a compression bomb is never inflated', async () => {
  const bomb = gzipSync(Buffer.alloc(30_000_000))
  const port = await serve((_request, response) => response.setHeader('content-encoding', 'gzip').end(bomb))
  const response = await outboundWith().post(request(`http://127.0.0.1:${port}/`))
  expect(response.body.length).toBe(bomb.length)
})

test('each phase has its own clock: connect, first byte, idle, total', async () => {
  const sockets = new Set<net.Socket>()
  const mute = net.createServer((socket) => void sockets.add(socket))
  await new Promise<void>((resolve) => mute.listen(0, '127.0.0.1', resolve))
  closers.push(() => {
    for (const socket of sockets) socket.destroy()
    mute.close()
  })
  const mutePort = (mute.address() as AddressInfo).port
  const hang = await serve(() => {})
  const stall = await serve((_request, response) => void response.write('{'))
  const drip = await serve((_request, response) => {
    const timer = setInterval(() => response.write(' '), 5)
    response.once('close', () => clearInterval(timer))
  })
  const cases = [
    {
      url: `https://127.0.0.1:${mutePort}/`,
      limit: { connectMs: 60 },
      kind: 'timeout_connect',
      requestSent: false,
    },
    {
      url: `http://127.0.0.1:${hang}/`,
      limit: { firstByteMs: 60 },
      kind: 'timeout_first_byte',
      requestSent: true,
    },
    { url: `http://127.0.0.1:${stall}/`, limit: { idleMs: 60 }, kind: 'timeout_idle', requestSent: true },
    {
      url: `http://127.0.0.1:${drip}/`,
      limit: { idleMs: 1_000, totalMs: 1_500 },
      kind: 'timeout_total',
      requestSent: true,
    },
  ]
  const outbound = outboundWith()
  for (const { url, limit, kind, requestSent } of cases) {
    const started = performance.now()
    const call = outbound.post(request(url, { timeouts: { ...TIMEOUTS, ...limit } }))
    await expect(call).rejects.toMatchObject({ kind, requestSent })
    expect(performance.now() - started).toBeLessThan(20_000)
  }
})

test('a resolver that never answers is given up like a host that never answers', async () => {
  const outbound = outboundWith({ resolve: () => new Promise(() => {}), connectMs: 50 })
  const call = outbound.post(request('https://tarpit.example/'))
  await expect(call).rejects.toMatchObject({ kind: 'timeout_connect', requestSent: false })
})

test('an abort ends a call at once, and one that stands in line is never sent', async () => {
  const upstream = await provider()
  const { url, ledger, open } = upstream
  upstream.answer(() => ({ kind: 'hang' }))
  const outbound = outboundWith({ connectionsPerOriginMax: 1 })
  const [running, inLine] = [new AbortController(), new AbortController()]
  const first = outbound.post(request(url, { signal: running.signal }))
  const second = outbound.post(request(url, { signal: inLine.signal }))
  const firstEnds = expect(first).rejects.toMatchObject({ kind: 'aborted', requestSent: true })
  const secondEnds = expect(second).rejects.toMatchObject({ kind: 'aborted', requestSent: false })
  await eventually('the first call arrived', () => ledger.length === 1)
  inLine.abort()
  await secondEnds
  running.abort()
  await firstEnds
  await eventually('the provider saw the caller leave', () => open() === 0)
  upstream.answer(() => completion('ok'))
  expect((await outbound.post(request(url))).status).toBe(200)
  expect(ledger).toHaveLength(2)
  const late = outbound.post(request(url, { signal: running.signal }))
  await expect(late).rejects.toMatchObject({ kind: 'aborted', requestSent: false })
})

test('a broken answer may have been billed; a refused connection was not', async () => {
  const upstream = await provider()
  const { url } = upstream
  upstream.answer(() => ({ kind: 'cut' }))
  const outbound = outboundWith()
  await expect(outbound.post(request(url))).rejects.toMatchObject({ kind: 'reset', requestSent: true })
  const vacant = await startProvider()
  await vacant.close()
  await expect(outbound.post(request(vacant.url))).rejects.toMatchObject({
    kind: 'connect',
    requestSent: false,
  })
  const garbage = net.createServer(
    (socket) => void socket.once('data', () => socket.end('SSH-2.0-OpenSSH_9.6\r\n')),
  )
  await new Promise<void>((resolve) => garbage.listen(0, '127.0.0.1', resolve))
  closers.push(() => garbage.close())
  const call = outbound.post(request(`http://127.0.0.1:${(garbage.address() as AddressInfo).port}/`))
  await expect(call).rejects.toMatchObject({ kind: 'protocol', requestSent: true })
})

test.each([
  ['authorization', 'Bearer canary\r\nx: y'],
  ['api-key', 'canary\0'],
  ['api-key', 'canary…'],
  ['Host', 'canary'],
  ['content-length', 'canary'],
  ['transfer-encoding', 'canary'],
  ['bad name', 'canary'],
])('a header that can not be sent is refused and not repeated: %s', async (name, value) => {
  const { url, ledger } = await provider()
  const error = await outboundWith()
    .post(request(url, { headers: { [name]: value } }))
    .catch(String)
  expect(error).toMatch(/^OutboundError: /)
  expect(error).not.toContain('canary')
  expect(ledger).toEqual([])
})

test('many calls in flight share nothing but the door, and calls in turn share one socket', async () => {
  const upstream = await provider()
  const { url, ledger, open } = upstream
  const held = gate()
  upstream.answer(({ body }) => ({ ...completion(String(body['n'])), until: held.opened }))
  const outbound = outboundWith()
  const calls = Array.from({ length: 300 }, (_, n) =>
    outbound.post(request(url, { body: JSON.stringify({ n }) })),
  )
  await eventually('all calls are open', () => open() === 300)
  held.open()
  const answers = await Promise.all(calls)
  const texts = answers.map(({ body }) => JSON.parse(body.toString()).choices[0].message.content)
  expect(texts).toEqual(Array.from({ length: 300 }, (_, n) => String(n)))
  expect(ledger).toHaveLength(300)
  let resolved = 0
  const counting = outboundWith({ resolve: () => Promise.resolve((resolved++, ['127.0.0.1'])) })
  for (let n = 0; n < 8; n++) await counting.post(request(url.replace('127.0.0.1', 'same.example')))
  // Two: undici frees a socket just after it has handed over the answer.
  expect(resolved).toBeLessThanOrEqual(2)
})
