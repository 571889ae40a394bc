import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { SCOPES, type Scope } from '../../shared/schemas/api-key.ts'
import { eventually } from '../support/eventually.ts'
import { startReceiver, type TestReceiver } from '../support/receiver.ts'
import { ask, ownConfig } from '../support/requests.ts'
import { ROUTES, scopeOf, unknownLike, type Kind } from '../support/routes.ts'
import { freshKey, gateway, provider, useGateway } from '../support/stage.ts'

// Two tenants on one gateway: A has one of everything, and B asks for all of it.
useGateway()

const ALL: Scope[] = [...SCOPES]
let receiver: TestReceiver
let keyOfA: string
let keyOfB: string
let ofA: Record<Kind, string>
/** As A read it when it was made. */
let atFirst: string[]
/** What must never be told to B. */
let marks: string[]

beforeAll(async () => {
  receiver = await startReceiver()
  keyOfA = await newTenant('tenant-a')
  keyOfB = await newTenant('tenant-b')
  ofA = await oneOfEach()
  atFirst = await snapshot()
  const { secret } = await asA('GET', '/v1/webhook_secret')
  marks = [...Object.values(ofA), String(secret)]
})
afterAll(() => receiver?.close())

async function newTenant(id: string): Promise<string> {
  await gateway.call('POST', '/v1/admin/tenants', { body: { id } })
  return gateway.tenantKey(id, { scopes: ALL })
}

async function asA(method: string, path: string, body?: object): Promise<Record<string, unknown>> {
  const answer = await gateway.call(method, path, { key: keyOfA, body })
  if (answer.status >= 300) throw new Error(`${method} ${path} was answered ${answer.status}: ${answer.text}`)
  return answer.json as Record<string, unknown>
}
const idOf = async (method: string, path: string, body?: object) => String((await asA(method, path, body)).id)

async function oneOfEach(): Promise<Record<Kind, string>> {
  const config = ownConfig({ url: provider.url, key: freshKey() })
  const hook = { name: 'a', url: receiver.url, event_types: ['job.completed'] }
  const endpoint = await idOf('POST', '/v1/webhook_endpoints', hook)
  const credential = await idOf('POST', '/v1/credentials', { api_key: freshKey('stored') })
  const job = (await gateway.submit(ask(config), {}, keyOfA)).id
  const response = await idOf('POST', '/v1/responses', {
    model: 'mine',
    input: 'x',
    background: true,
    user_config: config,
  })
  const batch = await idOf('POST', '/v1/batches', lines(ask(config)))
  await asA('POST', `/v1/responses/${response}/cancel`)
  await Promise.all([job, response.replace('resp_', 'job_')].map((id) => gateway.ended(id, { key: keyOfA })))
  await asA('GET', `/v1/batches/${batch}?wait=20`)
  const delivery = await firstOf('/v1/webhook_deliveries')
  const event = await firstOf('/v1/events')
  const key = await idOf('POST', '/v1/admin/tenants/tenant-a/keys', {})
  const file = await upload(keyOfA)
  return { job, response, file, batch, endpoint, delivery, event, credential, key, tenant: 'tenant-a' }
}

function firstOf(path: string): Promise<string> {
  return eventually(`${path} has one`, async () => {
    const { data } = (await asA('GET', path)) as { data: { id: string }[] }
    return data[0]?.id
  })
}

async function upload(key: string): Promise<string> {
  const form = new FormData()
  form.set('purpose', 'batch')
  form.set('file', new Blob(['{"custom_id":"a","body":{"model":"m","messages":[{}]}}\n']), 'input.jsonl')
  const headers = { authorization: `Bearer ${key}` }
  const answer = await fetch(`${gateway.url}/v1/files`, { method: 'POST', headers, body: form })
  return ((await answer.json()) as { id: string }).id
}

/** A call by the name of its route, with another path parameter. */
async function callRoute(name: string, id: string, key: string) {
  const [method = '', path = ''] = name.split(' ')
  const body = method === 'POST' ? (ROUTES[name]?.body ?? {}) : undefined
  const url = path.replace(/\{[^}]+\}/, encodeURIComponent(id))
  const { status, text } = await gateway.call(method, url, { key, body })
  return { status, text }
}

/** All that A sees of what it has. */
function snapshot(): Promise<string[]> {
  const reads = Object.entries(ROUTES).filter(([name]) => /^GET [^}]+\}$/.test(name))
  return Promise.all(
    reads.flatMap(([name, { id }]) =>
      id ? [callRoute(name, ofA[id], keyOfA).then(({ text }) => text)] : [],
    ),
  )
}

test('the table of routes has each of them', async () => {
  const { json } = await gateway.call('GET', '/openapi.json')
  const { paths } = json as { paths: Record<string, object> }
  const names = Object.entries(paths).flatMap(([path, methods]) =>
    Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`),
  )
  expect(names.toSorted()).toEqual(Object.keys(ROUTES).toSorted())
})

describe("another tenant's", () => {
  const byId = Object.entries(ROUTES).flatMap(([name, { id }]) => (id ? [[name, id] as const] : []))

  test.each(byId)('%s: its %s is as one that there is not', async (name, kind) => {
    const foreign = await callRoute(name, ofA[kind], keyOfB)
    expect(foreign).toEqual(await callRoute(name, unknownLike(ofA[kind]), keyOfB))
    expect(foreign.status).toBe(404)
  })

  test('all of it is as it was before', async () => {
    expect(await snapshot()).toEqual(atFirst)
  })

  const lists = Object.entries(ROUTES).flatMap(([name, { lists: kind }]) =>
    kind ? [[name, kind] as const] : [],
  )

  test.each(lists)('%s: its %s is not listed, and no place to go on from', async (name, kind) => {
    const own = await callRoute(name, '', keyOfA)
    expect(own.text).toContain(ofA[kind])
    const path = name.replace('GET ', '')
    const after = (id: string) => gateway.call('GET', `${path}?after=${id}`, { key: keyOfB })
    const [foreign, unknown] = [await after(ofA[kind]), await after(unknownLike(ofA[kind]))]
    expect(foreign.text).toBe(unknown.text)
    expect(foreign.status).toBe(400)
  })

  const reads = Object.entries(ROUTES).flatMap(([name, { id }]) =>
    name.startsWith('GET ') && !id ? [name] : [],
  )

  test.each(reads)('%s: nothing of it is told', async (name) => {
    const { text } = await callRoute(name, 'x', keyOfB)
    expect(marks.filter((mark) => text.includes(mark))).toEqual([])
  })

  test.each([
    ['POST', '/v1/batches', 'file', (id: string) => ({ ...lines(), requests: undefined, input_file_id: id })],
    [
      'POST',
      '/v1/responses',
      'response',
      (id: string) => ({ model: 'x', input: 'x', previous_response_id: id }),
    ],
    ['POST', '/v1/chat/completions', 'credential', (id: string) => ({ ...chat(), credential: id })],
    ['POST', '/v1/plan', 'credential', (id: string) => ({ ...chat(), credential: id })],
    ['POST', '/v1/jobs', 'credential', (id: string) => submitted({ ...chat(), credential: id })],
    ['POST', '/v1/jobs', 'endpoint', (id: string) => submitted(ownAsk(), { webhook_endpoint_ids: [id] })],
    ['POST', '/v1/batches', 'endpoint', (id: string) => ({ ...lines(), webhook_endpoint_ids: [id] })],
    ['POST', '/v1/batches', 'credential', (id: string) => ({ ...lines(), credential: id })],
  ] as const)('%s %s: its %s in a body is as one that there is not', async (method, path, kind, bodyOf) => {
    const [foreign, unknown] = await Promise.all(
      [ofA[kind], unknownLike(ofA[kind])].map((id) =>
        gateway.call(method, path, { key: keyOfB, body: bodyOf(id) }),
      ),
    )
    expect(foreign?.status).toBeGreaterThanOrEqual(400)
    expect(foreign?.status).toBe(unknown?.status)
    expect(foreign?.text.replaceAll(ofA[kind], '')).toBe(unknown?.text.replaceAll(unknownLike(ofA[kind]), ''))
  })
})

const chat = () => ({ model: 'openai/gpt-test', messages: [{ role: 'user', content: 'x' }] })
const ownAsk = () => ask(ownConfig({ url: provider.url, key: freshKey() }))
const submitted = (body: object, options: object = {}) => ({
  endpoint: '/v1/chat/completions',
  body,
  ...options,
})
const lines = (body: object = ownAsk()) => ({
  endpoint: '/v1/chat/completions',
  completion_window: '24h',
  requests: [{ custom_id: 'a', body }],
})

describe('a key for one scope', () => {
  const twins = Object.keys(ROUTES).flatMap((name) => [name, name.replace('/v1/', '/')])
  const azure = ['chat/completions', 'completions', 'embeddings'].map(
    (path) => `POST /openai/deployments/{model}/${path}`,
  )

  test.each(ALL)('%s: may call what that is for, and nothing else', async (scope) => {
    const key = await gateway.tenantKey('tenant-b', { scopes: [scope] })
    for (const name of [...twins, ...azure]) {
      const { status, text } = await callRoute(name, 'none_of_this_id', key)
      const isAllowed = scopeOf(name.replace(/ \/(?!v1\/|openai)/, ' /v1/')) === scope
      const isRefused = status === 403 && text.includes('"code":"insufficient_scope"')
      expect(isRefused, `${name} was answered ${status}: ${text.slice(0, 200)}`).toBe(!isAllowed)
      expect(status, name).not.toBe(401)
      if (isRefused) expect(text, name).toContain('permission_error')
    }
  })
})
