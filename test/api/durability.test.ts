import { afterAll, beforeAll, expect, test } from 'vitest'
import { ask, startApi, type TestApi } from './fixture.ts'

// The run's Redis is 7.0, or has no append-only file: it can't promise that anything is on its disk.

let api: TestApi
beforeAll(async () => {
  api = await startApi()
})
afterAll(() => api?.close())

const refused = (param: string | null) => ({
  error: expect.objectContaining({ code: 'durability_unavailable', type: 'invalid_request_error', param }),
})

test.each([
  ['a completion', '/v1/chat/completions', ask({ job: { durability: 'fsync' } }), {}, 'job.durability'],
  [
    'a job',
    '/v1/jobs',
    { endpoint: '/v1/chat/completions', body: ask(), durability: 'fsync' },
    {},
    'durability',
  ],
  ['a header', '/v1/chat/completions', ask(), { 'x-job-durability': 'fsync' }, 'X-Job-Durability'],
  [
    'a batch',
    '/v1/batches',
    {
      endpoint: '/v1/chat/completions',
      completion_window: '24h',
      input_file_id: 'file-x',
      durability: 'fsync',
    },
    {},
    'durability',
  ],
])(
  'what this Redis can not promise is refused of %s, and nothing is stored',
  async (_, url, body, headers, param) => {
    const before = await api.stored()
    const { status, json } = await api.call('POST', url, {
      body,
      headers: { prefer: 'respond-async', ...headers },
    })
    expect({ status, json }).toEqual({ status: 400, json: refused(param) })
    expect(await api.stored()).toBe(before)
  },
)

test('a tenant is not set to what this Redis can not promise', async () => {
  const made = { id: 'sure', durability: 'fsync' }
  expect(await api.call('POST', '/v1/admin/tenants', { body: made })).toMatchObject({
    status: 400,
    json: refused('durability'),
  })
  await api.tenants.create('sure')
  const set = await api.call('POST', '/v1/admin/tenants/sure', { body: { durability: 'fsync' } })
  expect(set).toMatchObject({ status: 400, json: refused('durability') })
  expect(await api.tenants.get('sure')).toMatchObject({ durability: 'default' })
})

test('a tenant that was promised more than this Redis can keep is told so, whatever its request says', async () => {
  await api.tenants.create('moved', { durability: 'fsync' })
  const { key } = await api.apiKeys.create('moved')
  const body = ask({ job: { durability: 'default' } })
  const { status, json, headers } = await api.call('POST', '/v1/chat/completions', { key, body })
  expect({ status, json }).toEqual({ status: 400, json: refused(null) })
  expect(headers['x-should-retry']).toBe('false')
})

test('a durability that is none is a 400', async () => {
  const body = { endpoint: '/v1/chat/completions', body: ask(), durability: 'always' }
  expect(await api.call('POST', '/v1/jobs', { body })).toMatchObject({ status: 400 })
  const headers = { 'x-job-durability': 'always' }
  expect(await api.call('POST', '/v1/chat/completions', { body: ask(), headers })).toMatchObject({
    status: 400,
    json: { error: { param: 'X-Job-Durability' } },
  })
})

test('a retry is promised what its job was, unless it says otherwise', async () => {
  const { plan, ...input } = api.store.jobInput({
    tenant: 'default',
    body: { model: 'mine', messages: [{ role: 'user', content: 'hello' }] },
  })
  const { id } = input
  await api.store.jobs.create({ ...input, plan: { ...plan, durability: 'fsync' } })
  await api.work({ error: { message: 'No.', type: 'server_error', param: null, code: 'bad' } })
  const retry = (body: object) => api.call('POST', `/v1/jobs/${id}/retry`, { body })
  const fresh = { user_config: ask().user_config }
  expect(await retry(fresh)).toMatchObject({ status: 400, json: refused('durability') })
  expect(await retry({ ...fresh, durability: 'default' })).toMatchObject({ status: 202 })
})
