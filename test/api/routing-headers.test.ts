import { afterAll, beforeAll, expect, test } from 'vitest'
import { startApi, type TestApi } from './fixture.ts'

let api: TestApi
beforeAll(async () => {
  api = await startApi()
})
afterAll(() => api.close())

function ask(params: object = {}, request: object = {}) {
  const entry = (group: string, tags: string[]) => ({
    model_name: group,
    litellm_params: { model: `openai/${tags.join('-')}`, api_key: 'sk-1', tags, ...params },
  })
  return {
    model: 'mine',
    messages: [{ role: 'user', content: 'Hi' }],
    user_config: {
      model_list: [entry('mine', ['free']), entry('mine', ['paid'])],
      enable_tag_filtering: true,
      num_retries: 1,
      timeout: 30,
    },
    ...request,
  }
}

async function planOf(body: object, headers: Record<string, string>) {
  const answer = await api.call('POST', '/v1/plan', { body, headers })
  expect(answer.status, answer.text).toBe(200)
  return answer.json.groups[0].deployments
}

test.for([
  ['a whole number of seconds', { 'x-litellm-timeout': '7' }, { timeout_s: 7 }],
  ['a part of one', { 'x-litellm-timeout': ' 0.25 ' }, { timeout_s: 0.25 }],
  ['more than the cap', { 'x-litellm-timeout': '99999' }, { timeout_s: 600 }],
  ['nothing', { 'x-litellm-timeout': '' }, { timeout_s: 12 }],
  ['a timeout of streams', { 'x-litellm-stream-timeout': '7' }, { timeout_s: 7, stream: true }],
  ['retries', { 'x-litellm-num-retries': '5' }, { num_retries: 5 }],
  ['no retries', { 'x-litellm-num-retries': '0' }, { num_retries: 0 }],
] as const)(
  'a header with %s stands instead of what body, deployment and config say',
  async ([, headers, expected]) => {
    const { stream, ...facts } = { stream: false, ...expected }
    const body = ask({ timeout: 20, num_retries: 3 }, { timeout: 12, num_retries: 2, stream })
    for (const deployment of await planOf(body, headers)) expect(deployment).toMatchObject(facts)
  },
)

/** Which deployments are left with these tags in the header. */
async function tagged(value: string, request: object): Promise<string[]> {
  const deployments = await planOf(ask({}, request), { 'x-litellm-tags': value })
  return deployments.map(({ name }: { name: string }) => name)
}

test('tags come by header, and win over those of the body', async () => {
  expect(await tagged('paid', {})).toEqual(['openai/paid'])
  expect(await tagged(' free , ', { tags: ['paid'] })).toEqual(['openai/free'])
  expect(await tagged('free,paid', {})).toEqual(['openai/free', 'openai/paid'])
})

test.for([
  ['x-litellm-timeout', ['0', '0.0', '-1', 'abc', '1e3', 'null', '1,2', 'Infinity', '9'.repeat(20)]],
  ['x-litellm-stream-timeout', ['0', 'soon']],
  ['x-litellm-num-retries', ['1.5', '-1', 'many']],
] as const)('a %s that is none is a 400 that names the header', async ([header, values]) => {
  for (const value of values) {
    const headers = { [header]: value }
    const completion = await api.call('POST', '/v1/chat/completions', { body: ask(), headers })
    expect(completion, value).toMatchObject({ status: 400, json: { error: { param: header } } })
    const body = { endpoint: '/v1/chat/completions', body: ask() }
    const job = await api.call('POST', '/v1/jobs', { body, headers })
    expect(job.json).toEqual(completion.json)
  }
})

test('a header holds for a job that is submitted, too', async () => {
  const body = { endpoint: '/v1/chat/completions', body: ask({}, { timeout: 12 }) }
  const headers = { 'x-litellm-timeout': '99999' }
  const { status, json } = await api.call('POST', '/v1/jobs', { body, headers })
  expect(status).toBe(202)
  expect(json.warnings.join()).toContain('from 99999 to 600')
})
