import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { AnswerFacts } from '../../shared/jobs/record-texts.ts'
import type { Attempt } from '../../shared/schemas/job.ts'
import { ask, startApi, type TestApi, type WorkEnd } from './fixture.ts'

const ENDPOINT = '/v1/chat/completions'
const BODY = '{"id":"chatcmpl-1","choices":[]}'
const ERROR = { message: 'No.', type: 'server_error', param: null, code: 'upstream_error' }
const FACTS: AnswerFacts = {
  model_id: 'dep-opaque',
  model_group: 'mine',
  retries: 1,
  fallbacks: 2,
  headers: { 'x-ratelimit-remaining-requests': '17' },
}
const SHOWN = {
  'x-litellm-model-id': 'dep-opaque',
  'x-litellm-model-group': 'mine',
  'x-litellm-attempted-retries': '1',
  'x-litellm-attempted-fallbacks': '2',
  'x-litellm-response-cost': '0.0000002',
  'llm_provider-x-ratelimit-remaining-requests': '17',
}

let api: TestApi
beforeAll(async () => {
  api = await startApi()
})
afterAll(() => api.close())

/** A completion that somebody waits for, ended like this. */
async function complete(end: WorkEnd) {
  const call = api.call('POST', ENDPOINT, { body: ask() })
  await api.work(end)
  return call
}

/** A job ended like this. */
async function endedJob(end: WorkEnd): Promise<string> {
  const { json } = await api.call('POST', '/v1/jobs', { body: { endpoint: ENDPOINT, body: ask() } })
  await api.work(end)
  return json.id
}

function attempt(number: number, cost: number | null): Attempt {
  return {
    number,
    deployment: 'openai/gpt-test',
    model_group: 'mine',
    provider: 'openai',
    started_at: 1,
    ended_at: 2,
    outcome: 'completed',
    status_code: 200,
    error_class: null,
    retry_after: null,
    possibly_billed: false,
    input_tokens: 1,
    output_tokens: 1,
    cost,
  }
}

/** Headers that tell how a job went; none of them may be on an answer that does not know it. */
function told(headers: Record<string, unknown>): string[] {
  return Object.keys(headers).filter((name) => /^(x-litellm-(?!call-id)|llm_provider-)/.test(name))
}

describe('who answered, after how many tries and at what cost', () => {
  const end: WorkEnd = { body: BODY, facts: FACTS, cost: 2e-7 }

  test('stands in the headers of a completion', async () => {
    const { headers, text } = await complete(end)
    expect(text).toBe(BODY)
    expect(headers).toMatchObject({ ...SHOWN, 'x-litellm-call-id': headers['x-job-id'] })
  })

  test('stands in the headers of a job and of its result', async () => {
    const id = await endedJob(end)
    for (const url of [`/v1/jobs/${id}`, `/v1/jobs/${id}/result`]) {
      const { headers } = await api.call('GET', url)
      expect(headers).toMatchObject({ ...SHOWN, 'x-litellm-call-id': id })
    }
  })

  test('stands in the headers of a failure', async () => {
    const { status, headers } = await complete({ error: ERROR, facts: FACTS, cost: 2e-7 })
    expect(status).toBe(502)
    expect(headers).toMatchObject(SHOWN)
  })

  test('is left out where it is not known', async () => {
    const { 'x-litellm-response-cost': _cost, ...others } = SHOWN
    const { headers } = await complete({ body: BODY, facts: FACTS })
    expect(headers).toMatchObject(others)
    expect(headers).not.toHaveProperty('x-litellm-response-cost')
    const uncalled = await complete({ error: ERROR })
    expect(told(uncalled.headers)).toEqual([])
  })

  test('is not told of a job that has not ended, or was cancelled before any call', async () => {
    const { json } = await api.call('POST', '/v1/jobs', {
      body: { endpoint: ENDPOINT, body: ask(), delay: 60 },
    })
    const pending = await api.call('GET', `/v1/jobs/${json.id}`)
    const cancelled = await api.call('POST', `/v1/jobs/${json.id}/cancel`)
    expect([told(pending.headers), told(cancelled.headers)]).toEqual([[], []])
  })
})

test.for([
  ['of printable ASCII', 'gpt-4 (mine), v1/x~', 'gpt-4 (mine), v1/x~'],
  ['of Latin letters', 'größe', 'gr%C3%B6%C3%9Fe'],
  ['of other letters', '模型', '%E6%A8%A1%E5%9E%8B'],
  ['with a line break', 'a\r\nset-cookie: x=1', 'a%0D%0Aset-cookie%3A%20x%3D1'],
  ['between spaces', ' a ', '%20a%20'],
  ['with half a surrogate pair', '\ud800', '%EF%BF%BD'],
  ['without a letter', '', ''],
  ['of 20,000 letters', 'x'.repeat(20_000), undefined],
] as const)('a model group %s never breaks an answer', async ([, group, shown]) => {
  const { status, headers } = await complete({ body: BODY, facts: { ...FACTS, model_group: group } })
  expect(status).toBe(200)
  expect(headers['x-litellm-model-group']).toBe(shown)
  expect(headers).not.toHaveProperty('set-cookie')
})

test('a header of the provider that could not be sent is left out, and the answer arrives', async () => {
  const headers = { 'x-request-id': 'ü', 'retry-after': 'a\nb', 'bad name': '1', 'retry-after-ms': '50' }
  const answer = await complete({ body: BODY, facts: { ...FACTS, headers } })
  expect(answer.status).toBe(200)
  expect(told(answer.headers).filter((name) => name.startsWith('llm_'))).toEqual([
    'llm_provider-retry-after-ms',
  ])
})

describe('a job’s cost', () => {
  test('is the sum of what is known of its attempts', async () => {
    const id = await endedJob({
      body: BODY,
      attempts: [attempt(1, 0.1), attempt(2, null), attempt(3, 0.2)],
    })
    const { json, headers } = await api.call('GET', `/v1/jobs/${id}`)
    expect(json.cost).toBe(0.3)
    expect(headers['x-litellm-response-cost']).toBe('0.3')
    expect(json.attempts.map(({ cost }: Attempt) => cost)).toEqual([0.1, null, 0.2])
  })

  test('is the one noted when it ended, also for attempts that are no longer kept', async () => {
    const id = await endedJob({ body: BODY, attempts: [attempt(1, 0.1)], cost: 0.1 + 0.2 })
    expect((await api.call('GET', `/v1/jobs/${id}`)).json.cost).toBe(0.3)
  })

  test('is null when none is known, and 0 when it is known to be nothing', async () => {
    const unknown = await endedJob({ body: BODY, attempts: [attempt(1, null)] })
    expect((await api.call('GET', `/v1/jobs/${unknown}`)).json.cost).toBeNull()
    const free = await endedJob({ body: BODY, attempts: [attempt(1, 0)] })
    const { json, headers } = await api.call('GET', `/v1/jobs/${free}`)
    expect([json.cost, headers['x-litellm-response-cost']]).toEqual([0, '0'])
  })
})
