import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Job } from '../../shared/schemas/job.ts'
import { eventually } from '../support/eventually.ts'
import { startGateway, type Gateway } from '../support/gateway.ts'
import { startProcess } from '../support/processes.ts'
import { ownRedis, startRedis } from '../support/redis.ts'
import { ask } from './fixture.ts'

let gateway: Gateway
beforeAll(async () => {
  gateway = await startGateway({
    workers: 0,
    config:
      'model_list:\n  - model_name: house/model\n    litellm_params: { model: openai/gpt-test, api_key: sk-operator }\n',
  })
})
afterAll(() => gateway?.stop())

test('a stopping API answers what it holds, leaves the jobs to others and ends with 0', async () => {
  const sync = gateway.call('POST', '/v1/chat/completions', { body: ask() })
  const submitted = (
    await gateway.call('POST', '/v1/jobs', { body: { endpoint: '/v1/chat/completions', body: ask() } })
  ).json as Job
  const poll = gateway.call('GET', `/v1/jobs/${submitted.id}?wait=60`)
  await eventually('both jobs are stored', async () => {
    const list = await gateway.call('GET', '/v1/jobs')
    return (list.json as { data: unknown[] }).data.length === 2
  })
  gateway.api.kill('SIGTERM')
  expect(await sync).toMatchObject({ status: 504, json: { error: { code: 'sync_wait_exceeded' } } })
  expect(await poll).toMatchObject({ status: 200, json: { status: 'queued' } })
  expect(await gateway.api.ended()).toBe(0)
  await gateway.replaceApi()
  expect((await gateway.job(submitted.id)).status).toBe('queued')
})

test.skipIf(!ownRedis().isPossible)(
  'an API ends cleanly while Redis is away, before its start too',
  async () => {
    const redis = await startRedis()
    const down = await startGateway({ workers: 0, redisUrl: redis.url })
    await redis.kill()
    expect((await down.call('GET', '/v1/jobs')).status).toBe(503)
    const waiting = startProcess(process.execPath, ['api/main.ts'], { env: down.env })
    await eventually('it waits for Redis', () => waiting.output().includes('Redis does not answer'))
    for (const api of [down.api, waiting]) {
      api.kill('SIGTERM')
      expect(await api.ended()).toBe(0)
    }
    await down.stop()
    await redis.stop()
  },
)

test('an API whose port is taken says so and ends', async () => {
  const port = new URL(gateway.url).port
  const second = startProcess(process.execPath, ['api/main.ts'], { env: { ...gateway.env, PORT: port } })
  expect(await second.ended()).toBe(1)
  expect(second.output()).toContain('EADDRINUSE')
})

test('an API without what it needs names every missing variable', async () => {
  const started = startProcess(process.execPath, ['api/main.ts'], { env: { PATH: process.env.PATH ?? '' } })
  expect(await started.ended()).toBe(1)
  expect(started.output()).toContain('REDIS_URL')
  expect(started.output()).toContain('GATEWAY_ID_SECRET')
})

test('the operator’s groups are listed, by names that may hold slashes', async () => {
  const list = await gateway.call('GET', '/v1/models')
  const model = { id: 'house/model', object: 'model', created: expect.any(Number), owned_by: 'operator' }
  expect(list.json).toEqual({ object: 'list', data: [model] })
  for (const path of ['/v1/models/house/model', '/models/house%2Fmodel']) {
    expect((await gateway.call('GET', path)).json, path).toEqual(model)
  }
  expect(await gateway.call('GET', '/v1/models/none')).toMatchObject({
    status: 404,
    json: { error: { code: 'model_not_found' } },
  })
  expect(list.text).not.toContain('sk-operator')
})

test('what a call holds is in no log line', async () => {
  await gateway.call('POST', '/v1/chat/completions', {
    body: { ...ask(), stream: true, api_key: 'sk-canary' },
  })
  await gateway.call('POST', '/v1/chat/completions', { key: 'sk-canary', body: ask() })
  expect(gateway.logs()).not.toContain('sk-canary')
  expect(gateway.logs()).not.toContain(gateway.masterKey)
})

test('an API whose parent is gone ends by itself: a test run that is killed leaves no process of ours behind', async () => {
  const run = `import { startProcess } from './test/support/processes.ts'
    const started = startProcess(process.execPath, ['api/main.ts'], { env: process.env, endsWithUs: true })
    process.stdout.write(started.pid + '\\n')
    setInterval(() => process.stdout.write(started.output()), 50)`
  const killed = startProcess(process.execPath, ['--input-type=module', '-e', run], { env: gateway.env })
  await eventually('the API of the run listens', () => killed.output().includes('"address"'))
  const pid = Number.parseInt(killed.output(), 10)
  process.kill(pid, 0)
  killed.kill('SIGKILL')
  await eventually('it is gone', () => {
    try {
      process.kill(pid, 0)
      return false
    } catch {
      return true
    }
  })
})
