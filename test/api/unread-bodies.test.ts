import { setTimeout as pause } from 'node:timers/promises'
import { connect, type AddressInfo, type Socket } from 'node:net'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { eventually } from '../support/eventually.ts'
import { ask, MASTER_KEY, startApi, type TestApi } from './fixture.ts'

const PATH = '/v1/chat/completions'
let api: TestApi
let port: number
beforeAll(async () => {
  api = await startApi({ receiveMs: 2_400 })
  await api.app.listen({ host: '127.0.0.1', port: 0 })
  port = (api.app.server.address() as AddressInfo).port
})
afterAll(() => api.close())

/** A request written by hand; nothing of it has to be complete. */
function send(text: string): { socket: Socket; answer: () => string } {
  const socket = connect(port, '127.0.0.1')
  let answer = ''
  socket.on('data', (chunk: Buffer) => (answer += chunk.toString()))
  socket.on('error', () => {})
  socket.write(text)
  return { socket, answer: () => answer }
}

function head(method: string, path: string, authorization: string, length: number): string {
  const headers = ['host: x', `authorization: ${authorization}`, 'content-type: application/json']
  return `${method} ${path} HTTP/1.1\r\n${headers.join('\r\n')}\r\ncontent-length: ${length}\r\n\r\n`
}

test.for([
  ['POST', '/v1/nope', `Bearer ${MASTER_KEY}`, 404],
  ['POST', '/nope', '', 404],
  ['POST', '/healthz', '', 404],
  ['DELETE', '/v1/jobs', '', 404],
  ['POST', '/v1/jobs', 'Bearer wrong', 401],
  ['POST', '/chat/completions', '', 401],
  ['POST', '/v1/jobs/job_x/cancel', '', 401],
] as const)(
  '%s %s (%s) is answered %i before its body has come',
  async ([method, path, authorization, status]) => {
    const { socket, answer } = send(head(method, path, authorization, 5_000_000))
    await eventually('it is answered', () => answer().startsWith(`HTTP/1.1 ${status} `))
    socket.destroy()
  },
)

test('malformed JSON to an unknown path is a 404', async () => {
  expect((await api.call('POST', '/v1/nope', { body: '{' })).status).toBe(404)
})

test.for(['', '{"model":'])('a request that does not come to its end (%j) is a 408', async (body) => {
  const { answer } = send(head('POST', PATH, `Bearer ${MASTER_KEY}`, 5_000_000) + body)
  await eventually('it is given up', () => /^HTTP\/1.1 408 .*x-should-retry/s.test(answer()))
})

test('a head that does not come to its end is a 408', async () => {
  const { answer } = send(`POST ${PATH} HTTP/1.1\r\nhost: x\r\n`)
  await eventually('it is given up', () => answer().startsWith('HTTP/1.1 408 '))
})

test('a call that came whole is held for longer than one may take to come', async () => {
  const body = JSON.stringify(ask())
  const { answer, socket } = send(head('POST', PATH, `Bearer ${MASTER_KEY}`, Buffer.byteLength(body)) + body)
  const late = send(`POST ${PATH} HTTP/1.1\r\nhost: x\r\n`)
  await eventually('one that came later is given up', () => late.answer().includes('408'))
  await api.work({ body: '{"id":"chatcmpl-1"}' })
  await eventually('it is answered', () => /^HTTP\/1.1 200 .*chatcmpl-1/s.test(answer()))
  socket.destroy()
})

const uploadHead =
  head('POST', '/v1/files', `Bearer ${MASTER_KEY}`, 1_000_000).replace(
    'application/json',
    'multipart/form-data; boundary=b',
  ) +
  '--b\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nvision\r\n' +
  '--b\r\ncontent-disposition: form-data; name="file"; filename="f"\r\n\r\n'

test('an upload that stands still is a 408, and leaves nothing', async () => {
  const { answer } = send(`${uploadHead}some of it`)
  await eventually('it is given up', () => /^HTTP\/1.1 408 .*x-should-retry/s.test(answer()))
  await eventually(
    'nothing is left',
    async () => (await api.store.redis.zcard(api.store.keys.filesDue)) === 0,
  )
})

test('an upload may take longer than any other request, as long as it goes on', async () => {
  const end = '\r\n--b--\r\n'
  const { answer, socket } = send(
    uploadHead.replace(
      '1000000',
      String(uploadHead.split('\r\n\r\n').slice(1).join('\r\n\r\n').length + 40 + end.length),
    ),
  )
  for (let sent = 0; sent < 40; sent += 1) {
    socket.write('x')
    await pause(80)
  }
  socket.write(end)
  await eventually('it is a file', () => /^HTTP\/1.1 200 .*"bytes":40/s.test(answer()))
  socket.destroy()
})
