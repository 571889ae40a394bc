import { expect, test } from 'vitest'
import { completion, failure } from '../support/provider.ts'
import { ask, ownConfig } from '../support/requests.ts'
import { freshKey, gateway, provider, useGateway } from '../support/stage.ts'

// What a caller is told of who answered, after how many tries and at what cost, and what not.

const ENDPOINT = '/v1/chat/completions'
const PAGE =
  '<!DOCTYPE html><html><head><title>502</title></head><body>inner-host-17 at 10.0.0.7</body></html>'

useGateway()

function entry(model: string, group: string, base_model: string) {
  const own = ownConfig({ url: provider.url, key: freshKey(), model, group })
  return { ...own.model_list[0], model_info: { base_model } }
}

/** Two groups: `mine`, which falls back to `b`, whose model is known to the price table. */
function twoGroups() {
  return {
    model_list: [entry('openai/first', 'mine', 'gpt-4o'), entry('openai/second', 'b', 'gpt-4o-mini')],
    fallbacks: [{ mine: ['b'] }],
    num_retries: 1,
    disable_cooldowns: true,
  }
}

const usage = {
  prompt_tokens: 1_000,
  completion_tokens: 100,
  total_tokens: 1_100,
  prompt_tokens_details: { cached_tokens: 400 },
}
/** By the table: 600 tokens at 0.15, 400 cached at 0.075, 100 of output at 0.6 USD a million. */
const COST = 0.000_18

test('a fallback that answered after retries: its group, its calls, its cost and its rate headers', async () => {
  provider.answer(({ model }) =>
    model === 'first'
      ? failure(500, 'down', { 'x-ratelimit-remaining-requests': '1' })
      : {
          ...completion('ok', usage),
          headers: {
            'x-ratelimit-remaining-tokens': '88',
            'openai-organization': 'org-private',
            'set-cookie': 'session=private',
            'x-amzn-remapped-host': 'private',
          },
        },
  )
  const { status, headers } = await gateway.call('POST', ENDPOINT, { body: ask(twoGroups()) })
  expect(status).toBe(200)
  const told = Object.fromEntries(headers)
  expect(told).toMatchObject({
    'x-litellm-call-id': told['x-job-id'],
    'x-litellm-model-id': expect.stringMatching(/^\S{22}$/),
    'x-litellm-model-group': 'b',
    'x-litellm-attempted-retries': '0',
    'x-litellm-attempted-fallbacks': '1',
    'x-litellm-response-cost': '0.00018',
    'llm_provider-x-ratelimit-remaining-tokens': '88',
    'llm_provider-x-request-id': 'up-3',
    'x-job-attempts': '3',
  })
  expect(JSON.stringify(told)).not.toContain('private')
  expect(told).not.toHaveProperty('llm_provider-x-ratelimit-remaining-requests')

  const job = await gateway.job(told['x-job-id'] ?? '')
  expect(job).toMatchObject({
    cost: COST,
    usage: { input_tokens: 1_000, cached_input_tokens: 400, output_tokens: 100, total_tokens: 1_100 },
  })
  expect(job.attempts.map(({ model_group: group, outcome, cost }) => [group, outcome, cost])).toEqual([
    ['mine', 'failed', null],
    ['mine', 'failed', null],
    ['b', 'completed', COST],
  ])
})

test('a failure after all of them: the last one’s headers, no cost, and nothing of its page', async () => {
  provider.answer(({ model }) =>
    model === 'first'
      ? failure(500, 'down')
      : {
          kind: 'reply',
          status: 502,
          body: PAGE,
          headers: { 'content-type': 'text/html', 'x-ratelimit-remaining-requests': '7' },
        },
  )
  const { status, headers, text, json } = await gateway.call('POST', ENDPOINT, { body: ask(twoGroups()) })
  expect(status).toBe(502)
  expect(json).toEqual({
    error: {
      message: 'The provider answered 502 without a readable error.',
      type: 'server_error',
      param: null,
      code: 'upstream_error',
    },
  })
  const told = Object.fromEntries(headers)
  expect(told).toMatchObject({
    'content-type': expect.stringContaining('application/json'),
    'x-litellm-model-group': 'b',
    'x-litellm-attempted-retries': '1',
    'x-litellm-attempted-fallbacks': '1',
    'llm_provider-x-ratelimit-remaining-requests': '7',
    'x-should-retry': 'false',
  })
  expect(told).not.toHaveProperty('x-litellm-response-cost')
  const id = told['x-job-id'] ?? ''
  const result = await gateway.call('GET', `/v1/jobs/${id}/result`)
  const read = await gateway.call('GET', `/v1/jobs/${id}`)
  for (const answer of [text, result.text, read.text]) expect(answer).not.toMatch(/inner-host|10\.0\.0\.7|</)
})

test('a page that comes with a 200 is no completion, and an answer that broke off is not passed on', async () => {
  provider.answer(({ model }) =>
    model === 'first'
      ? { kind: 'reply', status: 200, body: PAGE }
      : {
          kind: 'reply',
          status: 200,
          body: { choices: [{ finish_reason: 'error', message: { content: 'half an ans' } }] },
        },
  )
  const body = { ...ask(twoGroups()), num_retries: 0 }
  const { status, headers, text } = await gateway.call('POST', ENDPOINT, { body })
  expect(status).toBe(502)
  expect(text).not.toMatch(/inner-host|half an ans/)
  const { attempts } = await gateway.job(headers.get('x-job-id') ?? '')
  expect(attempts).toMatchObject([
    { error_class: 'response_invalid', possibly_billed: true },
    { error_class: 'bad_gateway', possibly_billed: true },
  ])
})
