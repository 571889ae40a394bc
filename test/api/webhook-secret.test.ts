import { afterAll, beforeAll, expect, test } from 'vitest'
import { ask, startApi, type TestApi } from './fixture.ts'

let api: TestApi
beforeAll(async () => {
  api = await startApi()
})
afterAll(() => api.close())

test('each tenant and customer has a secret of its own, always the same', async () => {
  const { key } = await api.apiKeys.create('acme')
  const read = async (query: string, by?: string) =>
    (await api.call('GET', `/v1/webhook_secret${query}`, { key: by })).json
  const own = await read('')
  expect(own).toEqual({ object: 'webhook_secret', customer: null, secret: expect.stringMatching(/^whsec_/) })
  expect(await read('')).toEqual(own)
  const secrets = [own, await read('?customer=carol'), await read('?customer=dave'), await read('', key)]
  expect(new Set(secrets.map(({ secret }) => secret)).size).toBe(4)
})

test('a customer out of bounds and a misspelt filter are a 400', async () => {
  for (const [query, param] of [
    ['?customer=', 'customer'],
    [`?customer=${'x'.repeat(257)}`, 'customer'],
    ['?custmer=x', 'custmer'],
  ]) {
    const { status, json } = await api.call('GET', `/v1/webhook_secret${query}`)
    expect([status, json.error.param]).toEqual([400, param])
  }
})

test('a webhook secret that no verifier could use is refused with the job', async () => {
  const webhook = { url: 'https://example.com/', secret: 'whsec_???' }
  const answer = await api.call('POST', '/v1/jobs', {
    body: { endpoint: '/v1/chat/completions', body: ask(), webhook },
  })
  expect([answer.status, answer.json.error.param]).toEqual([400, 'webhook.secret'])
  expect(await api.stored()).toBe(0)
})
