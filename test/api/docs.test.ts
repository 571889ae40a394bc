import { afterAll, beforeAll, expect, test } from 'vitest'
import { startApi, type TestApi } from './fixture.ts'

let api: TestApi
beforeAll(async () => {
  api = await startApi()
})
afterAll(() => api.close())

test('the API description names every route once, with what it takes and gives', async () => {
  const { json } = await api.call('GET', '/openapi.json')
  expect(json.openapi).toBe('3.1.0')
  expect(Object.keys(json.paths).toSorted()).toEqual([
    '/v1/batches',
    '/v1/batches/{id}',
    '/v1/batches/{id}/cancel',
    '/v1/batches/{id}/events',
    '/v1/batches/{id}/output',
    '/v1/batches/{id}/requests',
    '/v1/batches/{id}/retry',
    '/v1/chat/completions',
    '/v1/completions',
    '/v1/credentials',
    '/v1/credentials/{id}',
    '/v1/embeddings',
    '/v1/events',
    '/v1/events/{id}',
    '/v1/files',
    '/v1/files/{id}',
    '/v1/files/{id}/content',
    '/v1/jobs',
    '/v1/jobs/cancel',
    '/v1/jobs/retry',
    '/v1/jobs/{id}',
    '/v1/jobs/{id}/cancel',
    '/v1/jobs/{id}/events',
    '/v1/jobs/{id}/result',
    '/v1/jobs/{id}/retry',
    '/v1/messages',
    '/v1/models',
    '/v1/models/{*}',
    '/v1/moderations',
    '/v1/plan',
    '/v1/responses',
    '/v1/responses/{id}',
    '/v1/responses/{id}/cancel',
    '/v1/responses/{id}/input_items',
    '/v1/webhook_deliveries',
    '/v1/webhook_deliveries/{id}',
    '/v1/webhook_deliveries/{id}/redeliver',
    '/v1/webhook_endpoints',
    '/v1/webhook_endpoints/{id}',
    '/v1/webhook_endpoints/{id}/deliveries',
    '/v1/webhook_endpoints/{id}/recover',
    '/v1/webhook_endpoints/{id}/rotate_secret',
    '/v1/webhook_endpoints/{id}/test',
    '/v1/webhook_event_types',
    '/v1/webhook_secret',
  ])
  const submit = json.paths['/v1/jobs'].post
  expect(submit.requestBody.content['application/json'].schema.$ref).toMatch(/JobRequest/)
  expect(submit.responses['202'].content['application/json'].schema.$ref).toMatch(/Job$/)
  const upload = json.paths['/v1/files'].post.requestBody.content['multipart/form-data'].schema
  expect(upload.required).toEqual(['file', 'purpose'])
  for (const [path, type] of [
    ['/v1/files/{id}/content', 'application/octet-stream'],
    ['/v1/batches/{id}/output', 'application/x-ndjson'],
    ['/v1/batches/{id}/events', 'text/event-stream'],
    ['/v1/jobs/{id}/events', 'text/event-stream'],
  ] as const) {
    expect(Object.keys(json.paths[path].get.responses['200'].content), path).toEqual([type])
  }
  expect(json.components.schemas).toHaveProperty('ErrorResponse')
  expect(json.components.securitySchemes.gatewayKey).toMatchObject({ scheme: 'bearer' })
})

test('the docs page loads nothing from anywhere else', async () => {
  const page = await api.call('GET', '/docs/')
  expect(page.status).toBe(200)
  const csp = String(page.headers['content-security-policy'])
  expect(csp).toContain("default-src 'self'")
  expect(csp).not.toMatch(/https:|upgrade-insecure-requests|validator/)
  expect(page.text).not.toMatch(/(?:src|href)="https?:/)
  for (const [, path] of page.text.matchAll(/(?:src|href)="([^"]+)"/g)) {
    const asset = await api.call('GET', new URL(path ?? '', 'http://x/docs/').pathname)
    expect(asset.status, path).toBe(200)
  }
})
