import { generateKeyPairSync } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { importSPKI, jwtVerify } from 'jose'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from 'vitest'
import { createEgressPolicy } from '../../shared/egress.ts'
import { createOutbound, type Outbound } from '../../worker/outbound.ts'
import { createGoogleTokens } from '../../worker/providers/google-token.ts'
import type { Provider, ProviderCall } from '../../worker/providers/provider.ts'
import { createVertex } from '../../worker/providers/vertex.ts'
import { createCertificates } from '../support/certificates.ts'
import { eventually, gate } from '../support/eventually.ts'
import { startProvider, type Answer, type LedgerEntry, type TestProvider } from '../support/provider.ts'
import { completionOf, createKeepingSink, poisonEnvironment, SSE, sse } from './model-calls.ts'
import { callOf } from './provider-calls.ts'

const LOGIN = 'oauth2.googleapis.com'
const HOSTS = [LOGIN, 'us-central1-aiplatform.googleapis.com', 'aiplatform.googleapis.com']
const { privateKey, publicKey } = generateKeyPairSync('rsa', {
  modulusLength: 2048,
  privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
  publicKeyEncoding: { type: 'spki', format: 'pem' },
})

let google: TestProvider
let outbound: Outbound
let vertex: Provider
const folder = mkdtempSync(join(tmpdir(), 'vertex-'))
beforeAll(async () => {
  const { ca, certificate, key } = createCertificates(HOSTS)
  const testCaFile = join(folder, 'ca.pem')
  writeFileSync(testCaFile, ca)
  google = await startProvider({ tls: { certificate, key } })
  const testResolve = HOSTS.map((host) => `${host}=127.0.0.1:${google.port}`)
  outbound = createOutbound({
    policy: createEgressPolicy({ allowedCidrs: ['127.0.0.1/32'] }),
    testResolve,
    testCaFile,
  })
})
beforeEach(() => {
  google.ledger.length = 0
  google.answer((request) => (request.host === LOGIN ? TOKEN : { kind: 'reply', status: 200, body: ANSWER }))
  vertex = createVertex(outbound)
  poisonEnvironment()
})
afterEach(() => void vi.unstubAllEnvs())
afterAll(async () => {
  await outbound.close()
  await google.close()
  rmSync(folder, { recursive: true })
})

// https://developers.google.com/identity/protocols/oauth2/service-account#httprest
const TOKEN: Answer = {
  kind: 'reply',
  status: 200,
  body: { access_token: 'ya29.test-token', scope: 'x', token_type: 'Bearer', expires_in: 3_600 },
}
// https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference#response-body
const ANSWER = {
  candidates: [{ content: { role: 'model', parts: [{ text: 'Hello' }] }, finishReason: 'STOP' }],
  usageMetadata: { promptTokenCount: 2, candidatesTokenCount: 3, totalTokenCount: 5 },
  responseId: 'resp-1',
}
// https://cloud.google.com/vertex-ai/generative-ai/docs/partner-models/claude/use-claude
const MESSAGE = {
  id: 'msg_vrtx_1',
  type: 'message',
  role: 'assistant',
  model: 'claude-sonnet-4-5',
  content: [{ type: 'text', text: 'Hi' }],
  stop_reason: 'end_turn',
  stop_sequence: null,
  usage: { input_tokens: 4, output_tokens: 5 },
}

/** A key file as a client may send it: all that leads elsewhere must be without effect. */
const credentials = (changes = {}) =>
  JSON.stringify({
    type: 'service_account',
    project_id: 'own-project',
    private_key_id: 'kid-1',
    private_key: privateKey,
    client_email: 'robot@own-project.iam.gserviceaccount.com',
    token_uri: 'https://canary.invalid/token',
    auth_uri: 'https://canary.invalid/auth',
    ...changes,
  })
const auth = (changes: Record<string, string> = {}) => ({
  vertex_credentials: credentials(),
  vertex_project: 'p-1',
  vertex_location: 'us-central1',
  ...changes,
})
const bundle = (changes = {}) => ({
  provider: 'vertex_ai',
  model: 'gemini-2.5-flash',
  api_base: null,
  api_key: null,
  auth: auth(),
  ...changes,
})
const BODY = { model: 'group', messages: [{ role: 'user', content: 'Hi' }], max_tokens: 9 }
const ask = (changes = {}, body: Record<string, unknown> = {}, rest: Partial<ProviderCall> = {}) =>
  vertex.call(callOf(bundle(changes), { ...BODY, ...body }, rest))
const logins = () => google.ledger.filter(({ host }) => host === LOGIN)
const calls = () => google.ledger.filter(({ host }) => host !== LOGIN)
const assertionOf = (entry: LedgerEntry | undefined) =>
  new URLSearchParams(String(entry?.body['unparsed'])).get('assertion')

test('a token is got at the one fixed address by a signed assertion, and Gemini called with it', async () => {
  expect(completionOf(await ask())).toMatchObject({
    id: 'resp-1',
    choices: [{ message: { content: 'Hello' } }],
  })
  const [login] = logins()
  expect(login).toMatchObject({ path: '/token', method: 'POST', host: LOGIN })
  const form = new URLSearchParams(String(login?.body['unparsed']))
  expect([...form.keys()]).toEqual(['grant_type', 'assertion'])
  expect(form.get('grant_type')).toBe('urn:ietf:params:oauth:grant-type:jwt-bearer')
  const { payload, protectedHeader } = await jwtVerify(
    assertionOf(login) ?? '',
    await importSPKI(publicKey, 'RS256'),
  )
  expect(protectedHeader).toEqual({ alg: 'RS256', typ: 'JWT', kid: 'kid-1' })
  const email = 'robot@own-project.iam.gserviceaccount.com'
  expect(payload).toMatchObject({
    iss: email,
    sub: email,
    aud: 'https://oauth2.googleapis.com/token',
    scope: 'https://www.googleapis.com/auth/cloud-platform',
  })
  const [call] = calls()
  expect(call?.host).toBe('us-central1-aiplatform.googleapis.com')
  expect(call?.path).toBe(
    '/v1/projects/p-1/locations/us-central1/publishers/google/models/gemini-2.5-flash:generateContent',
  )
  expect(call?.headers).toMatchObject({ authorization: 'Bearer ya29.test-token' })
  expect(call?.headers).not.toHaveProperty('x-goog-api-key')
  expect(call?.body).toEqual({
    contents: [{ role: 'user', parts: [{ text: 'Hi' }] }],
    generationConfig: { maxOutputTokens: 9 },
  })
  expect(JSON.stringify(google.ledger)).not.toContain('canary')
})

test('the project is that of the key file where none is given, and `global` has a host of its own', async () => {
  const { vertex_project: _project, ...rest } = auth({ vertex_location: 'global' })
  await ask({ auth: rest })
  expect(calls()).toMatchObject([{ host: 'aiplatform.googleapis.com' }])
  expect(calls()[0]?.path).toContain('/v1/projects/own-project/locations/global/publishers/google/')
})

test('a stream of Gemini passes too', async () => {
  google.answer((request) =>
    request.host === LOGIN ? TOKEN : { kind: 'reply', status: 200, headers: SSE, body: sse([ANSWER]) },
  )
  const kept = createKeepingSink()
  expect(await ask({}, { stream: true }, { sink: kept.sink })).toMatchObject({
    reply: { usage: { output_tokens: 3 } },
  })
  expect(kept.events().at(-1)).toEqual({ data: '[DONE]' })
  expect(calls()[0]?.path).toContain(':streamGenerateContent?alt=sse')
})

test('Claude is asked in its own form, with the version in the body and no model', async () => {
  google.answer((request) => (request.host === LOGIN ? TOKEN : { kind: 'reply', status: 200, body: MESSAGE }))
  const model = 'claude-sonnet-4-5@20250929'
  const tool = {
    type: 'function',
    function: { name: 'f', strict: true, parameters: { type: 'object', properties: {} } },
  }
  const outcome = await ask({ model, headers: { 'X-Title': 'mine' } }, { tools: [tool] })
  expect(completionOf(outcome)).toMatchObject({ id: 'msg_vrtx_1', model, usage: { prompt_tokens: 4 } })
  expect(outcome).toMatchObject({ reply: { warnings: [expect.stringMatching(/^strict/)] } })
  const [call] = calls()
  expect(call?.path).toBe(
    '/v1/projects/p-1/locations/us-central1/publishers/anthropic/models/claude-sonnet-4-5@20250929:rawPredict',
  )
  expect(call?.body).toEqual({
    anthropic_version: 'vertex-2023-10-16',
    max_tokens: 9,
    messages: [{ role: 'user', content: [{ type: 'text', text: 'Hi' }] }],
    tools: [{ name: 'f', input_schema: { type: 'object', properties: {} } }],
  })
  expect(call?.headers).toMatchObject({ authorization: 'Bearer ya29.test-token', 'x-title': 'mine' })
  for (const name of ['x-api-key', 'anthropic-version', 'anthropic-beta']) {
    expect(call?.headers).not.toHaveProperty(name)
  }
})

test('a stream of Claude, and a schema, for which a forced tool stands', async () => {
  const events = [
    { type: 'message_start', message: { ...MESSAGE, content: [], stop_reason: null } },
    {
      type: 'content_block_start',
      index: 0,
      content_block: { type: 'tool_use', id: 't', name: 'json', input: {} },
    },
    { type: 'content_block_delta', index: 0, delta: { type: 'input_json_delta', partial_json: '{"a":1}' } },
    { type: 'content_block_stop', index: 0 },
    {
      type: 'message_delta',
      delta: { stop_reason: 'tool_use', stop_sequence: null },
      usage: { output_tokens: 5 },
    },
    { type: 'message_stop' },
  ]
  google.answer((request) =>
    request.host === LOGIN ? TOKEN : { kind: 'reply', status: 200, headers: SSE, body: sse(events) },
  )
  const schema = { type: 'object', properties: { a: { type: 'number' } } }
  const response_format = { type: 'json_schema', json_schema: { name: 'x', schema } }
  const kept = createKeepingSink()
  const outcome = await ask(
    { model: 'claude-sonnet-4-5' },
    { response_format, stream: true },
    { sink: kept.sink },
  )
  expect(completionOf(outcome)).toMatchObject({
    choices: [{ message: { content: '{"a":1}' }, finish_reason: 'stop' }],
  })
  expect(calls()[0]?.path).toContain(':streamRawPredict')
  expect(calls()[0]?.body).toMatchObject({
    stream: true,
    tool_choice: { type: 'any' },
    tools: [{ name: 'json' }],
  })
})

test('a token serves 55 minutes of calls of its own key file, and is asked for once by all that wait', async () => {
  let now = 0
  vertex = createVertex(outbound, undefined, createGoogleTokens(outbound, { now: () => now }))
  const waiting = gate()
  google.answer((request) =>
    request.host === LOGIN
      ? { ...TOKEN, until: waiting.opened }
      : { kind: 'reply', status: 200, body: ANSWER },
  )
  const leaving = new AbortController()
  const left = ask({}, {}, { signal: leaving.signal })
  const others = [ask(), ask()]
  await eventually('the token was asked for', () => logins().length === 1)
  leaving.abort()
  expect(await left).toMatchObject({
    kind: 'error',
    error: { class: 'api_connection', isPossiblyBilled: false },
  })
  waiting.open()
  for (const outcome of await Promise.all(others)) expect(outcome).toMatchObject({ kind: 'reply' })
  now = 55 * 60_000 - 1
  await ask()
  expect(logins()).toHaveLength(1)
  now += 1
  await ask()
  expect(logins()).toHaveLength(2)
  await ask({ auth: auth({ vertex_credentials: credentials({ private_key_id: 'kid-2' }) }) })
  expect(logins()).toHaveLength(3)
})

test('a token that Vertex AI refuses is not used again', async () => {
  google.answer((request) =>
    request.host === LOGIN ? TOKEN : { kind: 'reply', status: 401, body: UNAUTHENTICATED },
  )
  for (let number = 0; number < 2; number += 1) {
    expect(await ask()).toMatchObject({ error: { class: 'authentication', status: 401 } })
  }
  expect(logins()).toHaveLength(2)
})
// https://cloud.google.com/apis/design/errors
const UNAUTHENTICATED = {
  error: { code: 401, message: 'Token ya29.test-token is no good.', status: 'UNAUTHENTICATED' },
}

test.each([
  [
    400,
    { error: 'invalid_grant', error_description: 'canary' },
    { class: 'authentication', code: 'invalid_grant' },
  ],
  [429, { error: 'canary' }, { class: 'rate_limit', isRetryable: true }],
  [503, 'canary', { class: 'service_unavailable', isRetryable: true }],
  [200, '<html>canary</html>', { class: 'bad_gateway', isRetryable: true }],
])(
  'where no token is given (%i), no model is called, and the next call asks again',
  async (status, body, error) => {
    google.answer(() => ({ kind: 'reply', status, body }))
    for (let number = 0; number < 2; number += 1) {
      const outcome = await ask()
      expect(outcome).toMatchObject({ kind: 'error', error: { ...error, isPossiblyBilled: false } })
      expect(JSON.stringify(outcome)).not.toContain('canary')
    }
    expect(calls()).toEqual([])
    expect(logins()).toHaveLength(2)
  },
)

test('a token that an answer echoes is shown to nobody', async () => {
  google.answer((request) =>
    request.host === LOGIN ? TOKEN : { kind: 'reply', status: 401, body: UNAUTHENTICATED },
  )
  expect(JSON.stringify(await ask())).not.toContain('test-token')
})

test.each([
  [{ auth: {} }],
  [{ auth: undefined }],
  [{ auth: auth({ vertex_credentials: 'canary' }) }],
  [{ auth: auth({ vertex_credentials: '/etc/canary.json' }) }],
  [{ auth: auth({ vertex_credentials: credentials({ type: 'external_account' }) }) }],
  [{ auth: auth({ vertex_credentials: credentials({ type: 'authorized_user' }) }) }],
  [{ auth: auth({ vertex_location: 'evil.example/' }) }],
  [{ auth: auth({ vertex_location: 'x@evil.example#' }) }],
  [{ auth: auth({ vertex_project: '../../evil' }) }],
  [{ model: 'publishers/x/models/y' }],
  [{ model: '../../../x' }],
])(
  'without a service account of its own, or at a place that is none, nothing is sent: %#',
  async (changes) => {
    const outcome = await ask(changes)
    expect(outcome).toMatchObject({ kind: 'error', error: { class: 'bad_request', isPossiblyBilled: false } })
    expect(JSON.stringify(outcome)).not.toContain('canary')
    expect(google.ledger).toEqual([])
  },
)

test('a key that is none is told as such', async () => {
  const key = '-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n'
  const outcome = await ask({ auth: auth({ vertex_credentials: credentials({ private_key: key }) }) })
  expect(outcome).toMatchObject({ kind: 'error', error: { class: 'authentication', isRetryable: false } })
  expect(google.ledger).toEqual([])
})
