import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Outbound } from '../../worker/outbound.ts'
import { createProviders } from '../../worker/providers/registry.ts'
import { startProvider, type TestProvider } from '../support/provider.ts'
import { callOf, createLocalOutbound } from './provider-calls.ts'

let upstream: TestProvider
let outbound: Outbound
beforeAll(async () => {
  upstream = await startProvider()
  outbound = createLocalOutbound()
})
afterAll(async () => {
  await outbound.close()
  await upstream.close()
})

const answer = (mock_response: unknown, body?: Record<string, unknown>) => {
  const call = callOf({ api_base: upstream.url, mock_response }, body)
  return createProviders(outbound)(call.bundle).chat(call)
}

test('a string is the content of a whole chat completion, and nobody is called', async () => {
  const outcome = await answer('This is a test.')
  if (outcome.kind !== 'reply') throw new Error('no reply')
  const { status, body, usage } = outcome.reply
  expect(status).toBe(200)
  expect(JSON.parse(body.toString())).toEqual({
    id: expect.stringMatching(/^chatcmpl-[0-9a-f]{24}$/),
    object: 'chat.completion',
    created: expect.any(Number),
    model: 'gpt-4o',
    choices: [
      {
        index: 0,
        message: { role: 'assistant', content: 'This is a test.', refusal: null },
        logprobs: null,
        finish_reason: 'stop',
      },
    ],
    usage: {
      prompt_tokens: usage?.input_tokens,
      completion_tokens: usage?.output_tokens,
      total_tokens: usage?.total_tokens,
    },
  })
  expect(usage?.input_tokens).toBeGreaterThan(0)
  expect(usage?.total_tokens).toBe((usage?.input_tokens ?? 0) + (usage?.output_tokens ?? 0))
  expect(upstream.ledger).toEqual([])
})

test('an object is the completion, filled up where it is silent', async () => {
  const usage = { prompt_tokens: 1, completion_tokens: 2, total_tokens: 3 }
  const outcome = await answer({ id: 'mine', choices: [], usage })
  if (outcome.kind !== 'reply') throw new Error('no reply')
  expect(JSON.parse(outcome.reply.body.toString())).toMatchObject({
    id: 'mine',
    object: 'chat.completion',
    choices: [],
    usage,
  })
  expect(outcome.reply.usage).toEqual({ input_tokens: 1, output_tokens: 2, total_tokens: 3 })
})

test.each([
  ['litellm.RateLimitError', 'rate_limit', 429, true],
  ['litellm.ContextWindowExceededError', 'context_window_exceeded', 400, false],
  ['litellm.InternalServerError', 'internal_server', 500, true],
])('the string %s is that failure', async (text, errorClass, status, isRetryable) => {
  const outcome = await answer(text)
  expect(outcome).toMatchObject({
    kind: 'error',
    error: { class: errorClass, status, isRetryable, isPossiblyBilled: false },
  })
})

test("a client's own mock_response field is no order to the gateway", async () => {
  const outcome = await answer(null, { model: 'group', messages: [], mock_response: 'free lunch' })
  expect(outcome).toMatchObject({ kind: 'reply' })
  expect(upstream.ledger).toHaveLength(1)
})
