import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import type { EndpointName } from '../../shared/jobs/endpoints.ts'
import type { Outbound } from '../../worker/outbound.ts'
import { azureUrl } from '../../worker/providers/azure.ts'
import { createProviders } from '../../worker/providers/registry.ts'
import { completion, failure, startProvider, type TestProvider } from '../support/provider.ts'
import { callOf, createLocalOutbound } from './provider-calls.ts'

let upstream: TestProvider
let outbound: Outbound
beforeAll(async () => {
  upstream = await startProvider()
  outbound = createLocalOutbound()
})
beforeEach(() => {
  upstream.ledger.length = 0
  upstream.answer(() => completion('hello'))
})
afterAll(async () => {
  await outbound.close()
  await upstream.close()
})

const chat = (call: ReturnType<typeof callOf>) => createProviders(outbound)(call.bundle).call(call)

const HOST = 'https://mine.openai.azure.com'
const BY_NAME = '/openai/deployments/gpt-4o/chat/completions'

test.each<[string, string | null, string, string]>([
  [HOST, '2024-06-01', 'gpt-4o', `${HOST}${BY_NAME}?api-version=2024-06-01`],
  [HOST, null, 'gpt-4o', `${HOST}${BY_NAME}?api-version=2025-02-01-preview`],
  [`${HOST}/`, '2024-06-01', 'gpt-4o', `${HOST}${BY_NAME}?api-version=2024-06-01`],
  [`${HOST}/openai/deployments/`, '2024-06-01', 'gpt-4o', `${HOST}${BY_NAME}?api-version=2024-06-01`],
  [`${HOST}/openai/deployments/gpt-4o`, '2024-06-01', 'other', `${HOST}${BY_NAME}?api-version=2024-06-01`],
  [`${HOST}${BY_NAME}`, '2024-06-01', 'other', `${HOST}${BY_NAME}?api-version=2024-06-01`],
  [HOST, 'v1', 'gpt-4o', `${HOST}/openai/v1/chat/completions`],
  [`${HOST}/openai/v1`, '2024-06-01', 'gpt-4o', `${HOST}/openai/v1/chat/completions`],
  [HOST, 'preview', 'gpt-4o', `${HOST}/openai/v1/chat/completions?api-version=preview`],
  [HOST, 'latest', 'gpt-4o', `${HOST}/openai/v1/chat/completions?api-version=latest`],
  [HOST, '2024&x=#y', 'gpt-4o', `${HOST}${BY_NAME}?api-version=2024%26x%3D%23y`],
  [HOST, '1', '../../a?b#c', `${HOST}/openai/deployments/..%2F..%2Fa%3Fb%23c/chat/completions?api-version=1`],
  [
    'https://gateway.ai.cloudflare.com/v1/acc/gw/azure-openai/res',
    '1',
    'dep',
    'https://gateway.ai.cloudflare.com/v1/acc/gw/azure-openai/res/dep/chat/completions?api-version=1',
  ],
])('base %s with version %s and deployment %s', (api_base, api_version, model, url) => {
  expect(azureUrl({ api_base, api_version, model }, 'chat')).toBe(url)
})

test.each<[string, string | null, EndpointName, string]>([
  [HOST, '2024-06-01', 'completions', `${HOST}/openai/deployments/gpt-4o/completions?api-version=2024-06-01`],
  [HOST, '2024-06-01', 'embeddings', `${HOST}/openai/deployments/gpt-4o/embeddings?api-version=2024-06-01`],
  [HOST, '2024-06-01', 'responses', `${HOST}/openai/v1/responses`],
  [HOST, 'preview', 'responses', `${HOST}/openai/v1/responses?api-version=preview`],
  [`${HOST}/openai/v1`, null, 'embeddings', `${HOST}/openai/v1/embeddings`],
  [`${HOST}/openai/v1`, null, 'responses', `${HOST}/openai/v1/responses`],
  [
    `${HOST}/openai/deployments/pinned`,
    '1',
    'embeddings',
    `${HOST}/openai/deployments/pinned/embeddings?api-version=1`,
  ],
  [`${HOST}/openai/deployments/pinned`, '1', 'responses', `${HOST}/openai/v1/responses`],
  [`${HOST}${BY_NAME}`, '1', 'embeddings', `${HOST}/openai/deployments/gpt-4o/embeddings?api-version=1`],
])('base %s with version %s for %s', (api_base, api_version, endpoint, url) => {
  expect(azureUrl({ api_base, api_version, model: 'gpt-4o' }, endpoint)).toBe(url)
})

test('a key goes into the api-key header and nowhere else', async () => {
  const bundle = { provider: 'azure', api_base: upstream.url, api_key: 'az-key', api_version: '2024-06-01' }
  const outcome = await chat(callOf({ ...bundle, azure_ad_token: 'ad-token' }))
  expect(outcome).toMatchObject({ kind: 'reply', reply: { status: 200 } })
  const [sent] = upstream.ledger
  expect(sent?.path).toBe(`${BY_NAME}?api-version=2024-06-01`)
  expect(sent?.headers).toMatchObject({ 'api-key': 'az-key' })
  expect(sent?.headers.authorization).toBeUndefined()
  expect(JSON.stringify([sent?.path, sent?.body])).not.toContain('az-key')
})

test('without a key an AD token is the bearer', async () => {
  await chat(callOf({ provider: 'azure', api_base: upstream.url, api_key: null, azure_ad_token: 'ad-token' }))
  expect(upstream.ledger[0]?.headers).toMatchObject({ authorization: 'Bearer ad-token' })
  expect(upstream.ledger[0]?.headers['api-key']).toBeUndefined()
})

test('extra headers can not bring a second credential for the same header', async () => {
  const headers = { 'Api-Key': 'other' }
  await chat(callOf({ provider: 'azure', api_base: upstream.url, api_key: 'az-key', headers }))
  expect(upstream.ledger[0]?.headers['api-key']).toBe('az-key')
})

test('an Azure deployment without a base is a clear error and calls nobody', async () => {
  const outcome = await chat(callOf({ provider: 'azure', api_base: null }))
  expect(outcome).toMatchObject({ kind: 'error', error: { class: 'bad_request', isRetryable: false } })
})

test('a 429 of Azure is a rate limit with its wait', async () => {
  upstream.answer(() => failure(429, '429', { 'retry-after-ms': '1200', 'retry-after': '2' }))
  const outcome = await chat(callOf({ provider: 'azure', api_base: upstream.url }))
  expect(outcome).toMatchObject({ kind: 'error', error: { class: 'rate_limit', retryAfterMs: 1_200 } })
})

test('a call that can not be built is an error that billed nobody, whichever family it is of', async () => {
  const loop: Record<string, unknown> = {}
  loop['loop'] = loop
  const broken = [
    callOf({ provider: 'azure', api_base: upstream.url, model: '\ud800' }),
    callOf({ provider: 'azure', api_base: upstream.url }, loop),
    callOf({ api_base: upstream.url }, loop),
    callOf({ mock_response: loop }),
  ]
  for (const call of broken) {
    const error = { class: 'api_error', isRetryable: false, isPossiblyBilled: false }
    expect(await chat(call)).toMatchObject({ kind: 'error', error })
  }
  expect(upstream.ledger).toEqual([])
})
