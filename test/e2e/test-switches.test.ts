import { expect, test } from 'vitest'
import type { Job } from '../../shared/schemas/job.ts'
import { gateway, provider, useGateway } from '../support/stage.ts'

useGateway(() => ({
  workers: 1,
  config: `
model_list:
${['house', 'spare'].map((name) => `  - { model_name: ${name}, litellm_params: { model: openai/${name}, api_key: sk-operator, api_base: "${provider.url}/v1" } }`).join('\n')}
router_settings: { fallbacks: [{ house: [spare] }], allowed_fails: 0, cooldown_time: 60 }
general_settings: { dangerously_allow_mock_testing_request_params: true }
`,
  env: { GATEWAY_RETRY_INITIAL_MS: '20' },
}))

const params = (model: string, more: object = {}) => ({
  model: `openai/${model}`,
  api_key: `sk-of-${model}`,
  api_base: `${provider.url}/v1`,
  ...more,
})
/** A failure that counted would close its deployment for a minute, and a test after it would see that. */
const config = (own: Record<string, object> = {}) => ({
  model_list: ['a', 'b', 'c', 'd'].map((model) => ({
    model_name: model,
    litellm_params: params(model, own[model]),
  })),
  fallbacks: [{ a: ['b'] }],
  context_window_fallbacks: [{ a: ['c'] }],
  content_policy_fallbacks: [{ a: ['d'] }],
  allowed_fails: 0,
  cooldown_time: 60,
})

async function run(body: object): Promise<Job> {
  const { id } = await gateway.submit({ messages: [{ role: 'user', content: 'hi' }], ...body })
  return gateway.ended(id)
}

const called = () => provider.ledger.map(({ model }) => model)
const failures = ({ attempts }: Job) =>
  attempts.map(({ model_group: group, error_class: why }) => [group, why])

test.for([
  ['mock_testing_fallbacks', 'internal_server', 'b'],
  ['mock_testing_context_fallbacks', 'context_window_exceeded', 'c'],
  ['mock_testing_content_policy_fallbacks', 'content_policy_violation', 'd'],
  // Inside the retries: the same group is called next.
  ['mock_testing_rate_limit_error', 'rate_limit', 'a'],
])('%s: the first call is not made and fails as %s, and %s answers', async ([field, why, next]) => {
  for (const value of [true, 'true']) {
    provider.ledger.length = 0
    const job = await run({ model: 'a', user_config: config(), [field ?? '']: value })
    expect(job.status).toBe('completed')
    expect(failures(job)).toEqual([
      ['a', why],
      [next, null],
    ])
    expect(called()).toEqual([next])
    expect(job.attempts[0]?.possibly_billed).toBe(false)
  }
  // Nobody was to blame: the deployment is open for the next job.
  expect(await run({ model: 'a', user_config: config() })).toMatchObject({ attempts_made: 1 })
  expect(called().at(-1)).toBe('a')
})

test('with nothing to fall back on, the job ends with the error that was asked for', async () => {
  const job = await run({
    model: 'a',
    user_config: config(),
    mock_testing_fallbacks: true,
    disable_fallbacks: true,
  })
  expect(job).toMatchObject({ status: 'failed', attempts_made: 1 })
  expect(job.error?.message).toContain('mock_testing_fallbacks')
  expect(called()).toEqual([])
})

test('a deployment’s mock_timeout passes its timeout and falls back; a mock_delay answers late, without a call', async () => {
  const late = { mock_timeout: true, timeout: 0.2, num_retries: 0, cooldown_time: 0 }
  expect(failures(await run({ model: 'a', user_config: config({ a: late }) }))).toEqual([
    ['a', 'timeout'],
    ['b', null],
  ])
  expect(called()).toEqual(['b'])
  const startedAt = performance.now()
  const delayed = await run({ model: 'a', user_config: config(), mock_delay: 0.3, mock_response: 'canned' })
  expect(delayed).toMatchObject({ status: 'completed', attempts_made: 1 })
  expect(performance.now() - startedAt).toBeGreaterThan(300)
  expect(called()).toEqual(['b'])
})

test.for(['mock_testing_fallbacks', 'mock_timeout', 'mock_response'])(
  '%s on a model of the operator, who allows it, leaves his deployment open for others',
  async (field) => {
    const value = field === 'mock_response' ? 'litellm.InternalServerError' : true
    const job = await run({ model: 'house', [field]: value, timeout: 0.2, num_retries: 0 })
    expect(job.attempts[0]).toMatchObject({ outcome: 'failed' })
    expect(called()).not.toContain('house')
    expect(await run({ model: 'house' })).toMatchObject({ status: 'completed', attempts_made: 1 })
    expect(called().at(-1)).toBe('house')
  },
)
