import { expect, test } from 'vitest'
import type { Job } from '../../shared/schemas/job.ts'
import { completion, failure } from '../support/provider.ts'
import { gateway, provider, useGateway } from '../support/stage.ts'

useGateway(() => ({
  config: `
model_list:
  - model_name: house
    litellm_params: { model: openai/house, api_key: sk-operator, api_base: "${provider.url}/v1" }
  - model_name: spare-house
    litellm_params: { model: openai/spare-house, api_key: sk-operator, api_base: "${provider.url}/v1" }
`,
  env: { GATEWAY_RETRY_INITIAL_MS: '20' },
}))

const params = (model: string, more: object = {}) => ({
  model: `openai/${model}`,
  api_key: `sk-of-${model}`,
  api_base: `${provider.url}/v1`,
  ...more,
})
const config = (models: readonly string[], settings: object = {}) => ({
  model_list: models.map((model) => ({ model_name: model, litellm_params: params(model) })),
  num_retries: 0,
  disable_cooldowns: true,
  ...settings,
})
const messages = [{ role: 'user', content: 'Say this is a test' }]

async function run(body: object): Promise<Job> {
  const { id } = await gateway.submit({ model: 'a', messages, ...body })
  return gateway.ended(id)
}

const walked = () => provider.ledger.map(({ model, key }) => `${model} ${key}`)
const down = (...models: string[]) =>
  provider.answer(({ model }) => (models.includes(model ?? '') ? failure(500, 'down') : completion('ok')))

test('a list of names in the request replaces the config’s fallbacks of the group that was asked for', async () => {
  down('a', 'c')
  const job = await run({
    user_config: config(['a', 'b', 'c', 'd'], { fallbacks: [{ a: ['b'] }] }),
    fallbacks: ['c', 'd'],
  })
  expect(job.status).toBe('completed')
  expect(walked()).toEqual(['a sk-of-a', 'c sk-of-c', 'd sk-of-d'])
})

test('an object is a hop of its own: its fields win, the next hop starts from the pristine request', async () => {
  down('a', 'b')
  const own = [{ role: 'user', content: 'another prompt' }]
  const job = await run({
    user_config: config(['a', 'b', 'c']),
    temperature: 0.5,
    fallbacks: [{ model: 'b', messages: own, temperature: 0.1, seed: 7 }, { model: 'c' }],
  })
  expect(job).toMatchObject({ status: 'completed' })
  expect(job.attempts.map(({ model_group: group }) => group)).toEqual(['a', 'b', 'c'])
  const [, second, third] = provider.ledger.map(({ body }) => body)
  expect(second).toMatchObject({ messages: own, temperature: 0.1, seed: 7 })
  expect(third).toMatchObject({ messages, temperature: 0.5 })
  expect(third).not.toHaveProperty('seed')
})

test('an object’s own key goes to its hop alone, and no other key with it', async () => {
  down('a', 'b')
  const job = await run({
    user_config: config(['a', 'b', 'c']),
    fallbacks: [
      { model: 'b', api_key: 'sk-hop' },
      { model: 'openai/elsewhere', api_key: 'sk-third', api_base: `${provider.url}/v1` },
    ],
  })
  expect(job.status).toBe('completed')
  expect(walked()).toEqual(['a sk-of-a', 'b sk-hop', 'elsewhere sk-third'])
})

test('a request that a provider calls wrong goes to a fallback with a prompt of its own, and to no other', async () => {
  provider.answer(({ body }) =>
    JSON.stringify(body).includes('mended') ? completion('ok') : failure(400, 'invalid_value'),
  )
  const mended = { model: 'c', messages: [{ role: 'user', content: 'mended' }] }
  const userConfig = config(['a', 'b', 'c'])
  expect(await run({ user_config: userConfig, fallbacks: [{ model: 'b' }, mended] })).toMatchObject({
    status: 'completed',
  })
  expect(provider.ledger.map(({ model }) => model)).toEqual(['a', 'c'])
  provider.ledger.length = 0
  const job = await run({ user_config: userConfig, fallbacks: ['b', 'c'] })
  expect(job).toMatchObject({ status: 'failed', error: { code: 'invalid_value' } })
  expect(provider.ledger.map(({ model }) => model)).toEqual(['a'])
})

test('a prompt that does not fit uses its own table; a hop known to be too small is skipped', async () => {
  provider.answer(({ model }) =>
    model === 'large' ? completion('ok') : failure(400, 'context_length_exceeded'),
  )
  const userConfig = {
    ...config(['a', 'b', 'large']),
    fallbacks: [{ a: ['b'] }],
    context_window_fallbacks: [{ a: ['small', 'large'] }],
  }
  userConfig.model_list.push({
    model_name: 'small',
    litellm_params: params('small'),
    // @ts-expect-error -- the other entries need none
    model_info: { max_input_tokens: 3 },
  })
  const job = await run({ user_config: userConfig })
  expect(job.status).toBe('completed')
  expect(provider.ledger.map(({ model }) => model)).toEqual(['a', 'large'])
})

test('an answer that the content filter cut short is another group’s, where one is named for it', async () => {
  const filtered = completion('')
  filtered.body.choices[0] = {
    index: 0,
    message: { role: 'assistant', content: '' },
    finish_reason: 'content_filter',
  }
  provider.answer(({ model }) => (model === 'a' ? filtered : completion('from b')))
  const job = await run({ user_config: config(['a', 'b'], { content_policy_fallbacks: [{ a: ['b'] }] }) })
  expect(job).toMatchObject({ status: 'completed', attempts_made: 2 })
  expect(job.attempts[0]).toMatchObject({ error_class: 'content_policy_violation', possibly_billed: true })
  const plain = await run({ user_config: config(['a', 'b']) })
  expect(plain).toMatchObject({ status: 'completed', attempts_made: 1 })
})

test('a group that can be called is retried first; one whose last deployment cools is left at once', async () => {
  const settings = { fallbacks: [{ e: ['f'] }], num_retries: 2, allowed_fails: 0 }
  down('e')
  expect(await run({ model: 'e', user_config: config(['e', 'f'], settings) })).toMatchObject({
    status: 'completed',
  })
  expect(provider.ledger.map(({ model }) => model)).toEqual(['e', 'e', 'e', 'f'])

  provider.ledger.length = 0
  provider.answer(({ model }) =>
    model === 'f' ? completion('ok') : failure(500, 'down', { 'retry-after': '30' }),
  )
  const cools = config(['e', 'f'], { ...settings, disable_cooldowns: false })
  const job = await run({ model: 'e', user_config: cools })
  expect(job).toMatchObject({ status: 'completed' })
  expect(provider.ledger.map(({ model }) => model)).toEqual(['e', 'f'])
  const [failed, answered] = job.attempts
  expect((answered?.started_at ?? Infinity) - (failed?.ended_at ?? 0)).toBeLessThan(15_000)
})

test('disable_fallbacks leaves the group that was asked for alone', async () => {
  down('a')
  const job = await run({
    user_config: config(['a', 'b'], { fallbacks: [{ a: ['b'] }] }),
    disable_fallbacks: true,
  })
  expect(job).toMatchObject({ status: 'failed', attempts_made: 1 })
})

test('one key serves the provider’s other models as fallbacks; another provider’s needs a key of its own', async () => {
  down('a')
  const own = { model: 'openai/a', api_key: 'sk-mine', api_base: `${provider.url}/v1`, num_retries: 0 }
  expect(await run({ ...own, fallbacks: ['openai/b'] })).toMatchObject({ status: 'completed' })
  expect(walked()).toEqual(['a sk-mine', 'b sk-mine'])
  const refused = await gateway.call('POST', '/v1/chat/completions', {
    body: { ...own, messages, fallbacks: ['groq/llama-3.3-70b-versatile'] },
  })
  expect(refused).toMatchObject({ status: 400, json: { error: { param: 'fallbacks[0]' } } })
})

test('an operator’s model and a client’s own hop: each with its own key, and no base of a client meets the operator’s', async () => {
  down('house')
  const hop = { model: 'openai/mine', api_key: 'sk-client', api_base: `${provider.url}/v1` }
  // A list of both kinds is refused; of objects it is taken.
  await expect(run({ model: 'house', num_retries: 0, fallbacks: [hop, 'spare-house'] })).rejects.toThrow(
    '400',
  )
  expect(await run({ model: 'house', num_retries: 0, fallbacks: [hop] })).toMatchObject({
    status: 'completed',
  })
  expect(walked()).toEqual(['house sk-operator', 'mine sk-client'])
  for (const fallback of [
    { model: 'spare-house', api_base: 'https://evil.example.com/v1' },
    { model: 'spare-house', api_base: `${provider.url}/v1`, api_key: 'sk-client' },
  ]) {
    const body = { model: 'house', messages, fallbacks: [fallback] }
    const { status, json } = await gateway.call('POST', '/v1/chat/completions', { body })
    expect([status, JSON.stringify(json)]).toEqual([400, expect.stringContaining('fallbacks[0].api_base')])
  }
  expect(provider.ledger.filter(({ model }) => model === 'spare-house')).toEqual([])
})

test('a fallback that nobody knows is a 400 that names it, before anything runs', async () => {
  for (const [field, value, param] of [
    ['fallbacks', ['b', 'nobody'], 'fallbacks[1]'],
    ['fallbacks', [{ model: 'nobody' }], 'fallbacks[0].model'],
    ['context_window_fallbacks', [{ a: ['nobody'] }], 'context_window_fallbacks[0].a'],
  ] as const) {
    const body = { model: 'a', messages, user_config: config(['a', 'b']), [field]: value }
    const { status, json } = await gateway.call('POST', '/v1/chat/completions', { body })
    expect([field, status, (json as { error: { param: string } }).error.param]).toEqual([field, 400, param])
  }
  expect(provider.ledger).toEqual([])
})
