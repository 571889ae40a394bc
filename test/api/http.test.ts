import { connect } from 'node:net'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { eventually } from '../support/eventually.ts'
import { ask, MASTER_KEY, startApi, type TestApi } from './fixture.ts'

const PATH = '/v1/chat/completions'
let api: TestApi
beforeAll(async () => {
  api = await startApi({ bodyBytesMax: 100_000 })
})
afterAll(() => api.close())

function errorOf(message: unknown, change: object = {}) {
  return {
    error: { message, type: 'invalid_request_error', param: null, code: expect.any(String), ...change },
  }
}

test('malformed JSON is a 400 with its position and nothing of the body', async () => {
  const body = '{"model": "x",\n "api_key": "sk-canary" "messages": []}'
  const answer = await api.call('POST', PATH, { body })
  expect(answer.status).toBe(400)
  expect(answer.json).toEqual(
    errorOf(expect.stringContaining('position 39 (line 2, column 25)'), { code: 'invalid_json' }),
  )
  expect(answer.text).not.toContain('sk-canary')
})

test.for(['__proto__', String.raw`\u005f_proto__`, String.raw`__pr\u006Fto__`])(
  'a key "__proto__" anywhere in a body is refused, also as %s',
  async (key) => {
    const body = `{"model":"x","messages":[{"a":[{"${key}":{"isAdmin":true}}]}]}`
    const answer = await api.call('POST', PATH, { body })
    expect(answer.json).toMatchObject({ error: { code: 'invalid_json' } })
    expect(answer.status).toBe(400)
  },
)

test('a text "__proto__" is no key', async () => {
  const answer = await api.call('POST', '/v1/jobs', {
    body: { endpoint: PATH, body: ask({ user: '__proto__' }), delay: 60 },
  })
  expect(answer.status).toBe(202)
})

test('a bottomless body is a 400; brackets in texts are no depth', async () => {
  const bottomless = `{"model":"x","messages":${'['.repeat(40_000)}${']'.repeat(40_000)}}`
  const answer = await api.call('POST', PATH, { body: bottomless })
  expect([answer.status, answer.json.error.code]).toEqual([400, 'invalid_json'])
  const user = `"\\${'['.repeat(200)}\\`
  const flat = { endpoint: PATH, body: ask({ user }), delay: 60 }
  expect((await api.call('POST', '/v1/jobs', { body: flat })).status).toBe(202)
})

test('the name of an unknown field or filter is not repeated at length', async () => {
  const name = 'x'.repeat(5_000)
  const answers = [
    await api.call('POST', PATH, { body: { ...ask(), job: { [name]: 1 } } }),
    await api.call('POST', PATH, { body: { ...ask(), job: { metadata: { [name]: 'a' } } } }),
    await api.call('POST', PATH, { body: ask({ user_config: { ...ask().user_config, [name]: 1 } }) }),
    await api.call('GET', `/v1/jobs?${name}=1`),
  ]
  for (const { status, json } of answers) {
    expect(status).toBe(400)
    expect(json.error.param).toHaveLength(203)
    expect(json.error.message.length).toBeLessThan(500)
  }
})

test('a customer that is not well-formed Unicode is a 400 that names him', async () => {
  const body = JSON.stringify({ endpoint: PATH, body: ask(), customer: 'a\ud800' })
  const answer = await api.call('POST', '/v1/jobs', { body })
  expect([answer.status, answer.json.error.param]).toEqual([400, 'customer'])
})

test('a body over the limit is a 413, also in one that says nothing of its length', async () => {
  const body = JSON.stringify(ask({ padding: 'x'.repeat(100_000) }))
  const before = await api.stored()
  const answer = await api.call('POST', PATH, { body })
  expect(answer.status).toBe(413)
  expect(answer.headers['x-should-retry']).toBe('false')
  expect(answer.json).toEqual(errorOf(expect.stringContaining('100000 bytes'), { code: 'request_too_large' }))
  expect(await api.stored()).toBe(before)
})

test.for([
  'text/plain',
  'application/x-www-form-urlencoded',
  'multipart/form-data; boundary=x',
  'json',
  ';;;',
  'a/b/c',
])('content type %j is a 415', async (type) => {
  const answer = await api.call('POST', PATH, {
    body: JSON.stringify(ask()),
    headers: { 'content-type': type },
  })
  expect(answer.status).toBe(415)
  expect(answer.json).toEqual(
    errorOf(expect.stringContaining('application/json'), { code: 'unsupported_media_type' }),
  )
})

test('a body that is no object names the mistake', async () => {
  for (const body of ['[]', '"x"', 'null', '']) {
    const answer = await api.call('POST', PATH, { body })
    expect(answer.status).toBe(400)
    expect(answer.json).toEqual(errorOf('Send a JSON object as the body.', { code: 'invalid_body' }))
  }
})

test('an unknown path and an unknown method are a 404 in the same shape', async () => {
  for (const [method, path] of [
    ['GET', '/v1/nothing'],
    ['DELETE', '/v1/models'],
    ['POST', '/'],
  ] as const) {
    const answer = await api.call(method, path)
    expect(answer.status).toBe(404)
    expect(answer.json).toEqual(errorOf(expect.stringContaining(path), { code: 'not_found' }))
  }
})

test('a path that can not be decoded is a 400 in the same shape', async () => {
  const answer = await api.call('GET', '/v1/jobs/%E0%A4%A')
  expect(answer.status).toBe(400)
  expect(answer.json).toEqual(errorOf(expect.any(String), { code: 'invalid_url' }))
  expect(answer.headers['x-request-id']).toMatch(/^req_/)
})

test('every answer carries a request id of ours', async () => {
  const answers = await Promise.all([
    api.call('GET', '/healthz'),
    api.call('GET', '/v1/models', { headers: { 'x-request-id': 'mine' } }),
    api.call('GET', '/v1/models', { key: 'wrong' }),
    api.call('GET', '/nothing'),
    api.call('POST', PATH, { body: '{' }),
  ])
  const requestIds = answers.map(({ headers }) => headers['x-request-id'])
  for (const id of requestIds) expect(id).toMatch(/^req_[0-9a-f]{24}$/)
  expect(new Set(requestIds).size).toBe(answers.length)
})

test('both spellings of a path and a slash at its end are the same route', async () => {
  for (const path of ['/v1/models', '/models', '/v1/models/', '//v1//models']) {
    expect((await api.call('GET', path)).status, path).toBe(200)
  }
})

test('an internal failure tells nothing of itself and is not to be retried', async () => {
  const broken = await startApi()
  broken.jobs.list = () => Promise.reject(new Error('secret internals at /srv/app'))
  const answer = await broken.call('GET', '/v1/jobs')
  await broken.close()
  expect(answer.status).toBe(500)
  expect(answer.headers['x-should-retry']).toBe('false')
  expect(answer.text).not.toContain('secret')
  expect(answer.json).toMatchObject({ error: { type: 'server_error', code: 'internal_error' } })
})

test('Redis away is a 503 that may be retried', async () => {
  const broken = await startApi()
  broken.jobs.list = () => Promise.reject(new Error('Connection is closed.'))
  const answer = await broken.call('GET', '/v1/jobs')
  await broken.close()
  expect(answer.status).toBe(503)
  expect(answer.headers).toMatchObject({ 'retry-after': '2', 'x-should-retry': 'true' })
  expect(answer.json).toMatchObject({ error: { type: 'server_error', code: 'unavailable' } })
})

test('what is no HTTP and headers without end are answered in the same shape', async () => {
  await api.app.listen({ host: '127.0.0.1', port: 0 })
  expect(await exchange('nonsense\r\n\r\n')).toMatch(/^HTTP\/1.1 400 .*"code":"bad_http_request"/s)
  const long = `GET /v1/models HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${'x'.repeat(1_000_000)}\r\n\r\n`
  expect(await exchange(long)).toMatch(/^HTTP\/1.1 431 .*x-request-id: req_.*"code":"bad_http_request"/s)
  const nul = `GET /v1/models HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${MASTER_KEY}\0\r\n\r\n`
  expect(await exchange(nul)).toMatch(/^HTTP\/1.1 400 /)
  const unicode = `GET /v1/models HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${MASTER_KEY}é\r\nconnection: close\r\n\r\n`
  expect(await exchange(unicode)).toMatch(/^HTTP\/1.1 401 /)
})

test('a client that sends far too much still gets to read the 413', async () => {
  const { port } = api.app.server.address() as AddressInfo
  const answer = await fetch(`http://127.0.0.1:${port}${PATH}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${MASTER_KEY}`, 'content-type': 'application/json' },
    body: JSON.stringify(ask({ padding: 'x'.repeat(20_000_000) })),
  })
  expect(answer.status).toBe(413)
  expect(await answer.json()).toMatchObject({ error: { code: 'request_too_large' } })
})

test('after the 413 the rest of the body may come, and the next request behind it', async () => {
  const { port } = api.app.server.address() as AddressInfo
  const socket = connect(port, '127.0.0.1')
  let answer = ''
  socket.on('data', (chunk: Buffer) => (answer += chunk.toString()))
  socket.on('error', () => {})
  const headers = `host: x\r\nauthorization: Bearer ${MASTER_KEY}\r\ncontent-type: application/json`
  socket.write(`POST ${PATH} HTTP/1.1\r\n${headers}\r\ncontent-length: 3000000\r\n\r\n`)
  await eventually('it is refused', () => answer.startsWith('HTTP/1.1 413 '))
  socket.write(`${'x'.repeat(3_000_000)}GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n`)
  await eventually('the next one is answered', () => answer.includes('HTTP/1.1 200 '))
  socket.destroy()
})

async function exchange(text: string): Promise<string> {
  const { port } = api.app.server.address() as AddressInfo
  const socket = connect(port, '127.0.0.1')
  const chunks: Buffer[] = []
  socket.on('data', (chunk: Buffer) => chunks.push(chunk))
  socket.on('error', () => {})
  socket.write(text)
  await new Promise((resolve) => socket.once('close', resolve))
  return Buffer.concat(chunks).toString()
}
