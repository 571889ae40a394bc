import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { ask, startApi } from './fixture.ts'

type Schema = {
  type?: string | string[]
  enum?: unknown[]
  const?: unknown
  anyOf?: Schema[]
  oneOf?: Schema[]
  allOf?: Schema[]
  properties?: Record<string, Schema>
  required?: string[]
  items?: Schema
  additionalProperties?: Schema | boolean
  $ref?: string
}
type Parameter = { name: string; in: string; schema?: Schema }
type Operation = {
  parameters?: Parameter[]
  requestBody?: { content?: Record<string, { schema?: Schema }> }
}

const RUNS = 12
const HOOK = { name: 'mine', url: 'https://example.com/hooks', event_types: ['job.completed'] }
const LINE = { custom_id: 'one', body: ask() }
/** Bodies that are taken as they are: something is changed in them, else most calls get no further than the door. */
const GOOD: Record<string, object> = {
  '/v1/chat/completions': ask(),
  '/v1/jobs': { endpoint: '/v1/chat/completions', body: ask() },
  '/v1/plan': ask(),
  '/v1/batches': { requests: [LINE], endpoint: '/v1/chat/completions', completion_window: '24h' },
  '/v1/webhook_endpoints': HOOK,
  '/v1/credentials': { provider: 'openai', api_key: 'sk-of-a-customer' },
  '/v1/admin/tenants': { id: 'fuzzed' },
}
const DEPTH_MAX = 4
/** Times that a call may wait for: one that does would only hold up the others. */
const SHORT_WAITS = ['0', '0.01', '-1', 'soon', '', '1e999', 'NaN']

let api: Awaited<ReturnType<typeof startApi>>
let components: Record<string, Schema> = {}
/** Ids of what there is, and of what there is not. */
let ids: string[] = []

beforeAll(async () => {
  api = await startApi({ syncHoldMs: 40 })
  const job = await api.call('POST', '/v1/jobs', { body: { endpoint: '/v1/chat/completions', body: ask() } })
  await api.call('POST', `/v1/jobs/${job.json.id}/cancel`)
  const gone = await api.call('POST', '/v1/jobs', { body: { endpoint: '/v1/chat/completions', body: ask() } })
  await api.call('DELETE', `/v1/jobs/${gone.json.id}`)
  const kinds = ['job_', 'batch_', 'file-', 'resp_', 'evt_', 'whe_', 'dlv_', 'cred_', 'key_', '']
  ids = [job.json.id, gone.json.id, ...kinds.map((kind) => `${kind}0123456789abcdef0123456789abcdef01234567`)]
})
afterAll(() => api?.close())

const garbage = (): fc.Arbitrary<unknown> =>
  fc.oneof(
    fc.jsonValue({ maxDepth: 2 }),
    fc.constantFrom<unknown>(
      '',
      ' ',
      '\u0000',
      '__proto__',
      'constructor',
      '../../etc',
      1e308,
      -1,
      0.5,
      [],
      {},
    ),
    fc.string({ unit: 'binary', maxLength: 40 }),
  )

/** Values of a schema, now and then with something else in the place of a part of it. */
function valueOf(schema: Schema | boolean | undefined, depth = 0): fc.Arbitrary<unknown> {
  if (typeof schema !== 'object' || depth > DEPTH_MAX) return garbage()
  return fc.oneof({ weight: 6, arbitrary: fitting(schema, depth) }, { weight: 1, arbitrary: garbage() })
}

function fitting(schema: Schema, depth: number): fc.Arbitrary<unknown> {
  if (schema.$ref) return fitting(components[schema.$ref.split('/').at(-1) ?? ''] ?? {}, depth + 1)
  if (schema.const !== undefined) return fc.constant(schema.const)
  if (schema.enum) return fc.constantFrom(...schema.enum)
  const choices = schema.anyOf ?? schema.oneOf ?? schema.allOf
  if (choices) return fc.oneof(...choices.map((choice) => valueOf(choice, depth + 1)))
  const type = [schema.type ?? 'object'].flat()[0]
  if (type === 'string') return fc.oneof(fc.string({ maxLength: 30 }), fc.constantFrom(...ids, 'mine'))
  if (type === 'integer' || type === 'number')
    return fc.oneof(fc.integer(), fc.double(), fc.integer({ min: 0, max: 100 }))
  if (type === 'boolean') return fc.boolean()
  if (type === 'null') return fc.constant(null)
  if (type === 'array') return fc.array(valueOf(schema.items, depth + 1), { maxLength: 3 })
  const properties = Object.entries(schema.properties ?? {})
  const known = properties.map(([name, one]) => [name, valueOf(one, depth + 1)] as const)
  const requiredKeys = (schema.required ?? []).filter((name) => name in (schema.properties ?? {}))
  const record = fc.record(Object.fromEntries(known), { requiredKeys })
  const extra = fc.dictionary(fc.string({ maxLength: 12 }), garbage(), { maxKeys: 1 })
  return fc.oneof(
    { weight: 4, arbitrary: record },
    { weight: 1, arbitrary: fc.tuple(record, extra).map(([a, b]) => ({ ...b, ...a })) },
  )
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value)
}

function bodyOf(path: string, schema: Schema | undefined): fc.Arbitrary<unknown> {
  const good = GOOD[path]
  if (!good) return valueOf(schema)
  const names = Object.keys({ ...good, ...schema?.properties })
  const changed = fc.option(
    fc
      .constantFrom(...names)
      .chain((name) => valueOf(schema?.properties?.[name]).map((value) => ({ [name]: value }))),
    { nil: {} },
  )
  return fc.oneof(
    valueOf(schema),
    changed.map((change) => ({ ...good, ...change })),
  )
}

/** What is taken for certain. */
function examplesOf(path: string): [{ url: string; body: string }][] {
  const good = GOOD[path]
  return good ? [[{ url: path, body: JSON.stringify(good) }]] : []
}

/** One call of an operation: its path, and a body if it takes any. */
function callOf(path: string, { parameters = [], requestBody }: Operation) {
  const named = (place: string) => parameters.filter((one) => one.in === place)
  const inPath = fc.record(
    Object.fromEntries(
      named('path').map(({ name }) => [
        name,
        fc.oneof(fc.constantFrom(...ids), fc.string({ minLength: 1, maxLength: 50 })),
      ]),
    ),
  )
  const inQuery = fc.record(
    Object.fromEntries(
      named('query').map(({ name, schema }) => [
        name,
        name === 'wait' ? fc.constantFrom(...SHORT_WAITS) : valueOf(schema),
      ]),
    ),
    { requiredKeys: [] },
  )
  const schema = requestBody?.content?.['application/json']?.schema
  const body = requestBody
    ? fc.option(bodyOf(path, schema), { freq: 12, nil: undefined })
    : fc.constant(undefined)
  return fc
    .tuple(inPath, inQuery, body)
    .map(([places, query, given]): { url: string; body: string | undefined } => {
      const url = path.replaceAll(/\{([^}]+)\}/g, (_, name: string) =>
        encodeURIComponent(places[name] ?? 'x'),
      )
      const search = new URLSearchParams()
      for (const [name, value] of Object.entries(query)) search.append(name, textOf(value))
      return {
        url: `${url}?${search.toString()}`,
        body: given === undefined ? undefined : JSON.stringify(given),
      }
    })
}

/** What a provider that can't be reached, or a wait that is over, is answered with; all other 5xx are faults of ours. */
const UPSTREAM = new Set(['sync_wait_exceeded', 'job_expired', 'upstream_unreachable'])

test('whatever is sent to whichever route, nothing fails inside, and each error has its shape', async () => {
  const document = (await api.call('GET', '/openapi.json')).json
  components = document.components?.schemas ?? {}
  const operations = Object.entries(document.paths as Record<string, Record<string, Operation>>).flatMap(
    ([path, methods]) =>
      Object.entries(methods).map(([method, operation]) => ({
        path,
        method: method.toUpperCase() as 'GET' | 'POST' | 'DELETE',
        operation,
      })),
  )
  expect(operations.length).toBeGreaterThan(30)
  const seen = new Set<number>()
  for (const { path, method, operation } of operations) {
    await fc.assert(
      fc.asyncProperty(callOf(path, operation), async ({ url, body }) => {
        const answer = await api.call(method, url, { body })
        seen.add(answer.status)
        const where = `${method} ${url} ${body ?? ''} -> ${answer.status} ${answer.text.slice(0, 300)}`
        if (answer.status < 400) return
        expect(answer.json, where).toMatchObject({
          error: { message: expect.any(String), type: expect.any(String), code: expect.any(String) },
        })
        expect(answer.json.error, where).toHaveProperty('param')
        if (answer.status >= 500) expect(UPSTREAM, where).toContain(answer.json.error.code)
        expect(answer.headers['x-request-id'], where).toBeTruthy()
      }),
      { numRuns: RUNS, endOnFailure: true, examples: method === 'POST' ? examplesOf(path) : [] },
    )
  }
  // It got further than to the door, whichever cases they were.
  for (const status of [200, 202, 400, 404]) expect(seen).toContain(status)
})
