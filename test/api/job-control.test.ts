import { afterAll, beforeAll, expect, test } from 'vitest'
import { ask, startApi, type TestApi } from './fixture.ts'

const ENDPOINT = '/v1/chat/completions'
const FAILURE = { message: 'No.', type: 'server_error', param: null, code: 'bad' }

const OPERATOR = `
model_list:
  - model_name: ours
    litellm_params: { model: openai/gpt-ours, api_key: sk-of-the-operator }
`

let api: TestApi
beforeAll(async () => {
  api = await startApi({ configYaml: OPERATOR })
})
afterAll(() => api.close())

async function submit(options: object = {}, key?: string): Promise<string> {
  const answer = await api.call('POST', '/v1/jobs', {
    key,
    body: { endpoint: ENDPOINT, body: ask(), ...options },
  })
  if (answer.status !== 202) throw new Error(answer.text)
  return answer.json.id
}

/** A job that has ended. */
async function ended(options: object = {}, key?: string): Promise<string> {
  const id = await submit(options, key)
  await api.work({ error: FAILURE })
  return id
}

const own = { messages: [{ role: 'user', content: 'hello' }] }
const retry = (id: string, body?: unknown, headers?: Record<string, string>, key?: string) =>
  api.call('POST', `/v1/jobs/${id}/retry`, { body, headers, key })
const read = async (id: string) => (await api.call('GET', `/v1/jobs/${id}`)).json
const fresh = { user_config: ask().user_config }

/** What the next worker gets of a job. */
async function nextClaim() {
  const claim = await api.work({ body: '{"choices":[]}' })
  return { id: claim.id, body: claim.body, bundles: claim.bundles, plan: claim.plan }
}

test('a retry is a new job of the same request, and each of the two names the other', async () => {
  const options = { metadata: { order: '7' }, priority: 'high', max_attempts: 3, on_crash: 'fail' }
  const asked = { num_retries: 4, timeout: 17, tags: ['blue'], temperature: 0.5 }
  const old = await ended({
    ...options,
    body: ask(asked),
    expires_in: 120,
    result_ttl: 240,
    customer: 'carol',
  })
  const answer = await retry(old, fresh)
  expect(answer.status).toBe(202)
  const { id } = answer.json
  expect(answer.headers.location).toBe(`/v1/jobs/${id}`)
  expect(answer.json).toMatchObject({
    status: 'queued',
    retry_of: old,
    retried_by: null,
    metadata: { order: '7' },
    priority: 'high',
    attempts_max: 3,
    customer: 'carol',
  })
  expect(answer.json.expires_at - answer.json.created_at).toBe(120)
  expect(await read(old)).toMatchObject({ status: 'failed', retried_by: id, retry_of: null })
  const claim = await nextClaim()
  expect(claim).toMatchObject({ id, body: { model: 'mine', ...own, temperature: 0.5 } })
  expect(claim.body).not.toHaveProperty('num_retries')
  expect(claim.plan).toMatchObject({ request_num_retries: 4, timeout_s: 17 })
  expect(claim.bundles?.[0]?.api_key).toBe('sk-client')
  const job = await read(id)
  expect(job.result_expires_at - job.completed_at).toBe(240)
})

test('options, credentials and other fields of the gateway’s may be given anew; a webhook is as well', async () => {
  const old = await ended({ body: ask({ num_retries: 4 }), metadata: { a: 'old' } })
  const given = { metadata: { a: 'new' }, num_retries: 1, webhook: { url: 'https://example.com/hook' } }
  const { json } = await retry(old, { ...fresh, ...given })
  expect(json.metadata).toEqual({ a: 'new' })
  const claim = await nextClaim()
  expect(claim.plan.request_num_retries).toBe(1)
  expect(await api.store.redis.hexists(api.store.keys.job(json.id), 'hook')).toBe(1)
})

test('without the credentials that were erased it is a 400, with a call without any on the operator’s own it runs', async () => {
  const old = await ended()
  const refused = await retry(old)
  expect(refused.status).toBe(400)
  expect(refused.json.error).toMatchObject({ code: 'credentials_required', param: 'user_config' })
  expect((await read(old)).retried_by).toBeNull()
  const ours = await ended({ body: { model: 'ours', ...own } })
  expect((await retry(ours)).status).toBe(202)
  expect((await nextClaim()).bundles).toBeNull()
})

test('what may have held a secret is asked for, and null leaves it out', async () => {
  const body = { model: 'openai/gpt-x', api_key: 'sk-1', extra_headers: { 'x-secret': 's' }, ...own }
  const old = await ended({ body })
  const refused = await retry(old, { api_key: 'sk-2' })
  expect(refused.json.error).toMatchObject({ code: 'credentials_required', param: 'extra_headers' })
  expect((await retry(old, { api_key: 'sk-2', extra_headers: null })).status).toBe(202)
  const [bundle] = (await nextClaim()).bundles ?? []
  expect(bundle).toMatchObject({ api_key: 'sk-2', headers: {} })
})

test('a fresh key alone goes to no other base or provider than the old one was for', async () => {
  const model = 'openai/gpt-x'
  const places = [
    [{ api_base: 'https://llm.example.com/v1' }, 'api_base', 'https://llm.example.com/v1'],
    [{ base_url: 'https://llm.example.com/v1' }, 'base_url', 'https://llm.example.com/v1'],
    [{ custom_llm_provider: 'groq' }, 'custom_llm_provider', 'https://api.groq.com/openai/v1'],
  ] as const
  for (const [place, param, base] of places) {
    const old = await ended({ body: { model, api_key: 'sk-1', ...place, ...own } })
    const refused = await retry(old, { api_key: 'sk-2' })
    expect([refused.status, refused.json.error.param]).toEqual([400, param])
    expect(refused.json.error.code).toBe('credentials_required')
    const same = await retry(old, { api_key: 'sk-2', ...place })
    expect(same.status, same.text).toBe(202)
    expect((await nextClaim()).bundles?.[0]).toMatchObject({ api_key: 'sk-2', api_base: base })
  }
  const old = await ended({
    body: { model, api_key: 'sk-1', api_base: 'https://llm.example.com/v1', ...own },
  })
  expect((await retry(old, { api_key: 'sk-2', api_base: null })).status).toBe(202)
  expect((await nextClaim()).bundles?.[0]?.api_base).toBe('https://api.openai.com/v1')
})

test('a whole config, or a stored credential, says where it is for by itself', async () => {
  const stored = await api.call('POST', '/v1/credentials', { body: { api_key: 'sk-s', provider: 'openai' } })
  const bundle = { api_key: 'sk-1', api_base: 'https://llm.example.com/v1', custom_llm_provider: 'openai' }
  for (const given of [{ credential: stored.json.id }, fresh]) {
    const old = await ended({ body: { model: 'mine', ...bundle, ...own } })
    expect((await retry(old, given)).status).toBe(202)
    await nextClaim()
  }
})

test('what the gateway has no use for keeps no job from being run again, and is in no plain field', async () => {
  const name = 'a-field-of-the-provider-'.repeat(10)
  const old = await ended({ body: { model: 'ours', litellm_params: {}, api_keys: [], [name]: 'v', ...own } })
  const record = await api.store.redis.hgetall(api.store.keys.job(old))
  expect(Object.values(record).filter((text) => text.includes(name))).toEqual([])
  expect((await retry(old)).status).toBe(202)
  expect((await nextClaim()).body).toMatchObject({ ...own, [name]: 'v' })
})

test('a job on a stored credential is run again on it, unless the call brings others', async () => {
  const stored = await api.call('POST', '/v1/credentials', {
    body: { name: 'one', api_key: 'sk-stored', provider: 'openai' },
  })
  const body = { model: 'openai/gpt-x', credential: stored.json.id, ...own }
  const first = await ended({ body })
  expect((await retry(first)).status).toBe(202)
  expect((await nextClaim()).bundles?.[0]?.api_key).toBe('sk-stored')
  const second = await ended({ body })
  expect((await retry(second, { api_key: 'sk-other' })).status).toBe(202)
  expect((await nextClaim()).bundles?.[0]?.api_key).toBe('sk-other')
})

test.for([
  ['a job that has not ended', () => submit({ delay: 60 }), {}, 'job_not_ended'],
  ['a completed one', completed, {}, 'nothing_to_retry'],
  ['another prompt', () => ended(), { messages: [] }, 'unknown_parameter'],
  ['a field `job`', () => ended(), { job: {} }, 'unknown_parameter'],
  ['a body of extra fields', () => ended(), { extra_body: {} }, 'unknown_parameter'],
  ['an option that is wrong', () => ended(), { priority: 'top' }, 'invalid_parameter'],
] as const)('a retry of, or with, %s is a 400', async ([, make, body, code]) => {
  const id = await make()
  const answer = await retry(id, { ...fresh, ...body })
  expect([answer.status, answer.json.error.code]).toEqual([400, code])
  expect((await read(id)).retried_by).toBeNull()
})

async function completed(): Promise<string> {
  const id = await submit()
  await api.work({ body: '{"choices":[]}' })
  return id
}

test('what the tools of a Response log in with is neither kept for its readers nor told again', async () => {
  const server = { type: 'mcp', server_label: 'mail', server_url: 'https://mcp.example.com' }
  const tools = [{ ...server, authorization: 'an-access-token', headers: { 'x-key': 'a-tool-key' } }]
  const body = { ...fresh, model: 'mine', input: 'hello', background: true, tools }
  const queued = await api.call('POST', '/v1/responses', { body })
  expect([queued.status, queued.json.tools]).toEqual([200, [server]])
  const id = queued.json.id.replace('resp_', 'job_')
  const { body: sent } = await api.work({ error: FAILURE })
  expect(sent['tools']).toEqual(tools)
  expect((await api.call('GET', `/v1/responses/${queued.json.id}`)).json.tools).toEqual([server])
  expect(await api.store.jobs.readRequest('default', id)).toMatchObject({ input: 'hello', tools: [server] })
})

test('a second retry is a 409 that names the first; with an idempotency key it is that job', async () => {
  const old = await ended()
  const headers = { 'idempotency-key': 'once' }
  const first = await retry(old, fresh, headers)
  const again = await retry(old, fresh, headers)
  expect([again.status, again.json.id, again.headers['idempotent-replayed']]).toEqual([
    202,
    first.json.id,
    'true',
  ])
  const second = await retry(old, fresh)
  expect([second.status, second.json.error.code]).toEqual([409, 'already_retried'])
  expect(second.json.error.message).toContain(first.json.id)
  expect(second.headers['x-should-retry']).toBe('false')
  await nextClaim()
})

test('a retry is of its job’s customer, whom no header changes', async () => {
  const old = await ended({ customer: 'carol' })
  const answer = await retry(old, fresh, { 'x-litellm-customer-id': 'dave' })
  expect([answer.status, answer.json.error.param]).toEqual([400, 'x-litellm-customer-id'])
})

test('a deleted job is gone for good, whatever it was at', async () => {
  const waiting = await submit({ delay: 60 })
  const done = await completed()
  for (const id of [waiting, done]) {
    const answer = await api.call('DELETE', `/v1/jobs/${id}`, {
      headers: { 'content-type': 'application/json' },
    })
    expect([answer.status, answer.json]).toEqual([200, { id, object: 'job', deleted: true }])
    for (const [method, path] of ways(id)) {
      const later = await api.call(method, path)
      expect([later.status, later.json?.error.code], path).toEqual([410, 'result_expired'])
    }
    expect(await api.store.redis.keys(`*${id}*`)).toEqual([])
  }
  const listed = (await api.call('GET', '/v1/jobs?limit=100')).json.data
  expect(listed.filter(({ id }: { id: string }) => [waiting, done].includes(id))).toEqual([])
})

test('whoever waits for a job that is deleted is told so at once', async () => {
  const id = await submit({ delay: 60 })
  const poll = api.call('GET', `/v1/jobs/${id}?wait=30`)
  while (api.settled.size() === 0) await new Promise(setImmediate)
  await api.call('DELETE', `/v1/jobs/${id}`)
  expect((await poll).status).toBe(410)
})

test('another tenant’s job is neither deleted nor retried, and an unknown one answers the same', async () => {
  const { key } = await api.apiKeys.create('other')
  const id = await ended()
  const unknown = `job_${'0'.repeat(40)}`
  for (const [method, path] of [...ways(id), ['POST', `/v1/jobs/${id}/cancel`] as const]) {
    const [theirs, none] = [
      await api.call(method, path, { key }),
      await api.call(method, path.replace(id, unknown), { key }),
    ]
    expect([theirs.status, theirs.text], path).toEqual([404, none.text])
  }
  expect((await read(id)).status).toBe('failed')
})

function ways(id: string) {
  return [
    ['GET', `/v1/jobs/${id}`],
    ['GET', `/v1/jobs/${id}/result`],
    ['GET', `/v1/jobs/${id}/events`],
    ['DELETE', `/v1/jobs/${id}`],
    ['POST', `/v1/jobs/${id}/retry`],
  ] as const
}
