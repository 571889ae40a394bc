import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { ApiKeySettings } from '../../shared/schemas/api-key.ts'
import { ask as askBatch, batchStage, requestLine } from './batch-stage.ts'
import { startApi, type TestApi } from './fixture.ts'

const entry = (name: string, model: string) => ({
  model_name: name,
  litellm_params: { model, api_key: 'sk-operator' },
})
const HOUSE = {
  model_list: [entry('house', 'openai/gpt-4o'), entry('spare', 'openai/gpt-5'), entry('open/*', 'openai/*')],
  router_settings: { fallbacks: [{ house: ['spare'] }] },
}
const messages = [{ role: 'user', content: 'hello' }]

let api: TestApi
/** Of the tenant of the master key, for some models only. */
let key: string
beforeAll(async () => {
  api = await startApi({ configYaml: JSON.stringify(HOUSE), syncHoldMs: 100 })
  key = await keyFor({ models: ['house', 'open/gpt-4o*', 'openai/gpt-4o-mini', 'claude-3'] })
})
afterAll(() => api.close())

const keyFor = async (settings: ApiKeySettings) => (await api.apiKeys.create('default', settings)).key

async function errorOf(url: string, body: object, own = key) {
  const { status, json } = await api.call('POST', url, { key: own, body })
  const { type, code, param } = json.error ?? {}
  return { status, type, code, param }
}
const refusal = (param = 'model') => ({
  status: 403,
  type: 'permission_error',
  code: 'model_not_allowed',
  param,
})

const ownConfig = (name: string, ...models: string[]) => ({
  model: name,
  messages,
  user_config: { model_list: models.map((model) => entry(name, model)) },
})

/** Each door that something can be submitted at, with what asks for a model there. */
const DOORS: [string, string, (model: string) => object, string][] = [
  ['a chat completion', '/v1/chat/completions', (model) => ({ model, messages }), 'model'],
  ['one without /v1', '/chat/completions', (model) => ({ model, messages }), 'model'],
  ['a stream', '/v1/chat/completions', (model) => ({ model, messages, stream: true }), 'model'],
  ['a message', '/v1/messages', (model) => ({ model, messages, max_tokens: 5 }), 'model'],
  ['a legacy completion', '/v1/completions', (model) => ({ model, prompt: 'x' }), 'model'],
  ['an embedding', '/v1/embeddings', (model) => ({ model, input: 'x' }), 'model'],
  ['a moderation', '/v1/moderations', (model) => ({ model, input: 'x' }), 'model'],
  ['a response', '/v1/responses', (model) => ({ model, input: 'x' }), 'model'],
  ['one in the background', '/v1/responses', (model) => ({ model, input: 'x', background: true }), 'model'],
  [
    'a job',
    '/v1/jobs',
    (model) => ({ endpoint: '/v1/chat/completions', body: { model, messages } }),
    'body.model',
  ],
  ['a plan', '/v1/plan', (model) => ({ model, messages }), 'model'],
]

describe('a key for some models', () => {
  test('tells who is refused what it is for, and repeats no word of his, which may be a secret in the wrong place', async () => {
    for (const body of [
      { model: 'sk-in-the-wrong-place', messages },
      ownConfig('mine', 'openai/sk-in-the-wrong-place'),
    ]) {
      const { json } = await api.call('POST', '/v1/chat/completions', { key, body })
      expect(json.error.code).toBe('model_not_allowed')
      expect(json.error.message).toContain('house, open/gpt-4o*')
      expect(json.error.message).not.toContain('sk-in')
    }
  })

  test.each(DOORS)('is refused any other one at the door of %s, and nothing is stored', async (...door) => {
    const [, url, body, param] = door
    const before = await api.stored()
    const error = await errorOf(url, body('spare'))
    expect(error).toMatchObject(refusal(param))
    // What there is can't be told from what there is not.
    expect(await errorOf(url, body('nothing-of-this-name'))).toEqual(error)
    expect(await api.stored()).toBe(before)
    // A stream that is taken lasts until a worker has ended it.
    if ('stream' in body('house')) return
    expect((await errorOf(url, body('house'))).code).not.toBe('model_not_allowed')
  })

  test.each(['chat/completions', 'completions', 'embeddings'])(
    "is refused any other one in the path of Azure's %s",
    async (path) => {
      const body = { messages, prompt: 'x', input: 'x', model: 'house' }
      expect(await errorOf(`/openai/deployments/spare/${path}`, body)).toEqual(refusal())
      const allowed = await errorOf(`/openai/deployments/house/${path}`, { ...body, model: 'spare' })
      expect(allowed.code).not.toBe('model_not_allowed')
    },
  )

  test.each([
    [{ fallbacks: ['house', 'spare'] }, 'fallbacks[1]'],
    [{ fallbacks: [{ house: ['spare'] }] }, 'fallbacks[0].house'],
    [{ fallbacks: [{ model: 'spare' }] }, 'fallbacks[0]'],
    [{ fallbacks: [{ model: 'openai/gpt-5', api_key: 'sk-own' }] }, 'fallbacks[0]'],
    [{ context_window_fallbacks: ['spare'] }, 'context_window_fallbacks[0]'],
    [{ content_policy_fallbacks: [{ model: 'spare' }] }, 'content_policy_fallbacks[0]'],
  ])('is refused any other one as the fallback of %j', async (fields, path) => {
    const error = await errorOf('/v1/plan', { model: 'house', messages, ...fields })
    expect(error).toMatchObject(refusal(error.param))
    expect(error.param).toContain(path)
  })

  test('follows the fallbacks that the operator has set', async () => {
    const { json } = await api.call('POST', '/v1/plan', { key, body: { model: 'house', messages } })
    expect(json.groups.map(({ name }: { name: string }) => name)).toEqual(['house', 'spare'])
  })

  test.each(['open/gpt-4o', 'open/gpt-4o-mini', 'claude-3'])('may ask for %s', async (model) => {
    expect((await errorOf('/v1/plan', { model, messages })).code).not.toBe('model_not_allowed')
  })

  test.each(['open/gpt-4', 'claude-3-opus', 'HOUSE', 'open/gpt-5', '*'])(
    'may not ask for %s',
    async (model) => {
      expect(await errorOf('/v1/plan', { model, messages })).toEqual(refusal())
    },
  )

  test('calls with own credentials what it may ask for', async () => {
    const own = { messages, api_key: 'sk-own' }
    expect((await errorOf('/v1/plan', { ...own, model: 'openai/gpt-4o-mini' })).status).toBe(200)
    expect(await errorOf('/v1/plan', { ...own, model: 'openai/gpt-5' })).toEqual(refusal())
  })

  test('calls by a `user_config` what it may ask for, whatever the config calls it', async () => {
    for (const name of ['mine', 'house']) {
      expect((await errorOf('/v1/plan', ownConfig(name, 'openai/gpt-4o-mini'))).status).toBe(200)
      const both = ownConfig(name, 'openai/gpt-4o-mini', 'openai/gpt-5')
      expect(await errorOf('/v1/plan', both)).toEqual(refusal('user_config'))
    }
    // By the model alone, too.
    expect((await errorOf('/v1/plan', ownConfig('mine', 'anthropic/claude-3'))).status).toBe(200)
  })

  test('sees those models only', async () => {
    const { json } = await api.call('GET', '/v1/models', { key })
    expect(json.data.map(({ id }: { id: string }) => id)).toEqual(['house'])
    expect((await api.call('GET', '/v1/models/house', { key })).status).toBe(200)
    const hidden = await api.call('GET', '/v1/models/spare', { key })
    expect(hidden.status).toBe(404)
    expect(hidden.text).toBe((await api.call('GET', '/v1/models/nothing', { key })).text)
  })

  test('has its batches, and retries of those of others, held to them by the worker', async () => {
    const stage = batchStage(api)
    const requests = [requestLine('a', {}, { model: 'spare' })]
    const own = await stage.create(askBatch({ requests }), { key })
    const old = await stage.end(['failed'])
    const again = await api.call('POST', `/v1/batches/${old.id}/retry`, { key })
    const free = await api.call('POST', `/v1/batches/${old.id}/retry`)
    const allowedOf = async (id: string) => {
      const meta = await api.store.redis.hget(api.store.keys.batch(id), 'meta')
      return JSON.parse(meta ?? '{}').allowed?.models
    }
    expect(await allowedOf(own.id)).toContain('open/gpt-4o*')
    expect(await allowedOf(again.json.id)).toContain('open/gpt-4o*')
    expect(await allowedOf(free.json.id)).toBeUndefined()
    expect(JSON.stringify([own, again.json])).not.toContain('gpt-4o*')
  })

  test('is refused the retry of a job of another key with any other one', async () => {
    const body = { endpoint: '/v1/chat/completions', body: { model: 'spare', messages } }
    const { json: job } = await api.call('POST', '/v1/jobs', { body })
    await api.call('POST', `/v1/jobs/${job.id}/cancel`)
    expect(await errorOf(`/v1/jobs/${job.id}/retry`, {})).toMatchObject({
      status: 403,
      code: 'model_not_allowed',
    })
    expect((await api.call('POST', `/v1/jobs/${job.id}/retry`, { body: {} })).status).toBe(202)
  })

  test('sees a change of them at once', async () => {
    const { key: changing, id } = await api.apiKeys.create('default', { models: ['spare'] })
    expect((await errorOf('/v1/plan', { model: 'spare', messages }, changing)).status).toBe(200)
    await api.call('POST', `/v1/admin/keys/${id}`, { body: { models: ['house'] } })
    await expect.poll(() => errorOf('/v1/plan', { model: 'spare', messages }, changing)).toEqual(refusal())
  })
})

describe('a key for some endpoints', () => {
  const OTHERS = DOORS.filter(([, url]) => !url.endsWith('embeddings'))

  test.each(OTHERS)('is refused any other one at the door of %s', async (...[, url, body]) => {
    const own = await keyFor({ endpoints: ['/v1/embeddings'] })
    const before = await api.stored()
    expect(await errorOf(url, body('house'), own)).toEqual({
      status: 403,
      type: 'permission_error',
      code: 'endpoint_not_allowed',
      param: null,
    })
    expect(await api.stored()).toBe(before)
  })

  test('calls that one at every door', async () => {
    const own = await keyFor({ endpoints: ['/v1/embeddings'] })
    const body = { model: 'house', input: 'x' }
    for (const [url, given] of [
      ['/v1/embeddings', body],
      ['/openai/deployments/house/embeddings', body],
      ['/v1/jobs', { endpoint: '/v1/embeddings', body }],
      ['/v1/plan?endpoint=/v1/embeddings', body],
      ['/v1/batches', askBatch({ endpoint: '/v1/embeddings' })],
      ['/v1/batches', askBatch({ endpoint: '*' })],
    ] as const) {
      expect((await errorOf(url, given, own)).code, url).not.toBe('endpoint_not_allowed')
    }
    expect((await errorOf('/openai/deployments/house/chat/completions', { messages }, own)).status).toBe(403)
    expect((await errorOf('/v1/batches', askBatch(), own)).code).toBe('endpoint_not_allowed')
  })
})
