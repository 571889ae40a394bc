import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { createEgressPolicy } from '../../shared/egress.ts'
import { createOutbound, type Outbound } from '../../worker/outbound.ts'
import { createAzure } from '../../worker/providers/azure.ts'
import { createAzureTokens } from '../../worker/providers/azure-token.ts'
import { createTokenCache, type TokenOutcome } from '../../worker/providers/token-cache.ts'
import { createCertificates } from '../support/certificates.ts'
import {
  completion,
  failure,
  startProvider,
  type LedgerEntry,
  type TestProvider,
} from '../support/provider.ts'
import { callOf } from './provider-calls.ts'

const LOGIN = 'login.microsoftonline.com'
const HOST = 'mine.openai.azure.com'
const auth = { tenant_id: 'contoso.onmicrosoft.com', client_id: 'app-id-1', client_secret: 's&cr=t/value' }
const bundle = {
  provider: 'azure',
  api_base: `https://${HOST}`,
  api_key: null,
  api_version: '2024-10-21',
  auth,
}

let server: TestProvider
let outbound: Outbound
let folder: string
let nowMs = 0
beforeAll(async () => {
  const { ca, ...tls } = createCertificates([LOGIN, 'login.microsoftonline.us', HOST])
  folder = mkdtempSync(join(tmpdir(), 'azure-token-'))
  writeFileSync(join(folder, 'ca.pem'), ca)
  server = await startProvider({ tls })
  const hosts = [LOGIN, 'login.microsoftonline.us', HOST]
  outbound = createOutbound({
    policy: createEgressPolicy({ allowedCidrs: ['127.0.0.1/32'] }),
    testResolve: hosts.map((host) => `${host}=127.0.0.1:${server.port}`),
    testCaFile: join(folder, 'ca.pem'),
  })
})
beforeEach(() => {
  server.ledger.length = 0
  nowMs = 1_000_000
  server.answer((request) => (isLogin(request) ? token() : completion('hello')))
})
afterAll(async () => {
  await outbound.close()
  await server.close()
  rmSync(folder, { recursive: true })
})

const isLogin = ({ host }: LedgerEntry) => host.startsWith('login.')
const logins = () => server.ledger.filter(isLogin)

let issued = 0
/** A new token each time, as Microsoft answers. */
function token(expiresIn = 3_600) {
  issued += 1
  const body = { token_type: 'Bearer', expires_in: expiresIn, access_token: `token-${issued}` }
  return { kind: 'reply' as const, status: 200, body }
}

function azure() {
  return createAzure(outbound, undefined, createAzureTokens(outbound, { now: () => nowMs }))
}

test('an app is logged in at its tenant and its token is the bearer of the call', async () => {
  const outcome = await azure().call(callOf(bundle))
  expect(outcome).toMatchObject({ kind: 'reply', reply: { status: 200 } })
  const [login, sent] = server.ledger
  expect(login).toMatchObject({ host: LOGIN, path: '/contoso.onmicrosoft.com/oauth2/v2.0/token' })
  expect(Object.fromEntries(new URLSearchParams(String(login?.body['unparsed'])))).toEqual({
    grant_type: 'client_credentials',
    client_id: 'app-id-1',
    client_secret: 's&cr=t/value',
    scope: 'https://cognitiveservices.azure.com/.default',
  })
  expect(sent).toMatchObject({ host: HOST, key: `token-${issued}` })
  expect(JSON.stringify([sent?.headers, sent?.body, sent?.path])).not.toMatch(/app-id-1|cr=t/)
})

test('calls at once share one log-in, and it is kept until five minutes before its end', async () => {
  const provider = azure()
  await Promise.all(Array.from({ length: 20 }, () => provider.call(callOf(bundle))))
  expect(logins()).toHaveLength(1)
  nowMs += 54 * 60_000
  await provider.call(callOf(bundle))
  expect(logins()).toHaveLength(1)
  nowMs += 61_000
  await provider.call(callOf(bundle))
  expect(logins()).toHaveLength(2)
  expect(server.ledger.at(-1)?.key).toBe(`token-${issued}`)
})

test('a token that an answer echoes is told to nobody', async () => {
  server.answer((request) => {
    if (isLogin(request)) return token()
    const body = { error: { message: `The access token ${request.key} has no role here`, code: 'denied' } }
    return { kind: 'reply', status: 403, body, headers: { 'x-request-id': request.key ?? '' } }
  })
  const outcome = await azure().call(callOf(bundle))
  expect(outcome).toMatchObject({ error: { status: 403, code: 'denied' } })
  expect(JSON.stringify(outcome)).not.toContain(`token-${issued}`)
})

test('each credential has a token of its own', async () => {
  const provider = azure()
  const others = [{ client_secret: 'other' }, { client_id: 'other' }, { tenant_id: 'other' }]
  for (const other of [{}, ...others, {}]) {
    await provider.call(callOf({ ...bundle, auth: { ...auth, ...other } }))
  }
  expect(logins()).toHaveLength(4)
  const keys = server.ledger.filter((entry) => !isLogin(entry)).map(({ key }) => key)
  expect(new Set(keys).size).toBe(4)
  expect(keys[4]).toBe(keys[0])
})

test('the cloud of the scope is where it is asked for', async () => {
  const scope = 'https://cognitiveservices.azure.us/.default'
  await azure().call(callOf({ ...bundle, auth: { ...auth, azure_scope: scope } }))
  expect(server.ledger[0]).toMatchObject({ host: 'login.microsoftonline.us' })
  const evil = await azure().call(
    callOf({ ...bundle, auth: { ...auth, azure_scope: 'https://evil.example/.default' } }),
  )
  expect(evil).toMatchObject({ kind: 'error', error: { class: 'authentication' } })
  expect(logins()).toHaveLength(1)
})

test('a refusal is a dead key, tells nothing of the credential, and is not kept', async () => {
  const description = `AADSTS7000215: bad secret ${auth.client_secret} of app ${auth.client_id}`
  const body = { error: 'invalid_client', error_description: description, error_codes: [7_000_215] }
  server.answer(() => ({ kind: 'reply', status: 401, body }))
  const provider = azure()
  const outcome = await provider.call(callOf(bundle))
  expect(outcome).toMatchObject({
    kind: 'error',
    error: {
      class: 'authentication',
      status: 401,
      code: 'AADSTS7000215',
      isRetryable: false,
      isPossiblyBilled: false,
    },
  })
  expect(JSON.stringify(outcome)).not.toMatch(/cr=t|app-id-1|contoso/)
  server.answer((request) => (isLogin(request) ? token() : completion('hello')))
  expect(await provider.call(callOf(bundle))).toMatchObject({ kind: 'reply' })
})

test.each<[string, () => void, Record<string, unknown>]>([
  ['503', () => server.answer(() => failure(503, 'x')), { class: 'service_unavailable', isRetryable: true }],
  [
    '429 with its wait',
    () => server.answer(() => failure(429, 'x', { 'retry-after': '7' })),
    { class: 'rate_limit', retryAfterMs: 7_000 },
  ],
  [
    'no connection',
    () => server.answer(() => ({ kind: 'cut' })),
    { class: 'api_connection', isRetryable: true },
  ],
  [
    'a page',
    () => server.answer(() => ({ kind: 'reply', status: 200, body: '<html>' })),
    { isRetryable: true },
  ],
])('a log-in that ends in %s is a failure that billed nobody', async (_name, script, error) => {
  script()
  const outcome = await azure().call(callOf(bundle))
  expect(outcome).toMatchObject({ kind: 'error', error: { ...error, isPossiblyBilled: false } })
  expect(server.ledger.every(isLogin)).toBe(true)
})

test('a token that Azure refuses is not used again', async () => {
  const provider = azure()
  server.answer((request) => (isLogin(request) ? token() : failure(401, '401')))
  await provider.call(callOf(bundle))
  server.answer((request) => (isLogin(request) ? token() : completion('hello')))
  expect(await provider.call(callOf(bundle))).toMatchObject({ kind: 'reply' })
  expect(logins()).toHaveLength(2)
})

test('a call that is given up does not give up the log-in that others wait for', async () => {
  const { promise, resolve } = Promise.withResolvers<void>()
  server.answer((request) => (isLogin(request) ? { ...token(), until: promise } : completion('hello')))
  const provider = azure()
  const leaver = new AbortController()
  const left = provider.call(callOf(bundle, undefined, { signal: leaver.signal }))
  const stays = provider.call(callOf(bundle))
  leaver.abort()
  expect(await left).toMatchObject({ kind: 'error', error: { class: 'api_connection' } })
  resolve()
  expect(await stays).toMatchObject({ kind: 'reply' })
  expect(logins()).toHaveLength(1)
})

test('no more tokens are kept than allowed', async () => {
  let asked = 0
  const ask = (): Promise<TokenOutcome> => {
    asked += 1
    return Promise.resolve({ kind: 'token', token: 't', usableMs: 1_000 })
  }
  const cache = createTokenCache<string>(ask, { entriesMax: 2 })
  const { signal } = new AbortController()
  for (const name of ['a', 'b', 'c', 'c', 'b', 'a']) await cache.get(name, signal)
  expect(asked).toBe(4)
})
