import { afterAll, beforeAll, expect, test } from 'vitest'
import { ROUTES } from '../support/routes.ts'
import { startApi, type TestApi } from './fixture.ts'

let api: TestApi
beforeAll(async () => {
  api = await startApi()
})
afterAll(() => api.close())

test('the API description names every route once, with what it takes and gives', async () => {
  const { json } = await api.call('GET', '/openapi.json')
  expect(json.openapi).toBe('3.1.0')
  const paths = new Set(Object.keys(ROUTES).map((name) => name.replace(/^\S+ /, '')))
  expect(Object.keys(json.paths).toSorted()).toEqual([...paths].toSorted())
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
    expect(Object.keys(json.paths[path].get.responses['200'].content), path).toContain(type)
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
