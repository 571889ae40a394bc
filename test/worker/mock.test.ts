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
  return createProviders(outbound)(call.bundle).call(call)
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
  expect(outcome.reply.usage).toMatchObject({ input_tokens: 1, output_tokens: 2, total_tokens: 3 })
})

test.each([
  ['litellm.RateLimitError', 'rate_limit', 429, true],
  ['litellm.ContextWindowExceededError', 'context_window_exceeded', 400, false],
  ['litellm.InternalServerError', 'internal_server', 500, true],
  ['litellm.ContentPolicyViolationError', 'content_policy_violation', 400, false],
  ['Exception: content_filter_policy', 'content_policy_violation', 400, false],
  ['litellm.AuthenticationError', 'authentication', 401, false],
  ['litellm.Timeout', 'timeout', 408, true],
  ['litellm.ServiceUnavailableError', 'service_unavailable', 503, true],
  ['litellm.NotFoundError', 'not_found', 404, false],
  ['litellm.BadRequestError', 'bad_request', 400, false],
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

const timed = async (bundle: Parameters<typeof callOf>[0], changes: Parameters<typeof callOf>[2] = {}) => {
  const call = callOf({ api_base: upstream.url, ...bundle }, undefined, changes)
  const calls = upstream.ledger.length
  const started = performance.now()
  const outcome = await createProviders(outbound)(call.bundle).call(call)
  expect(upstream.ledger).toHaveLength(calls)
  return { outcome, tookMs: performance.now() - started }
}

test('mock_timeout waits for the timeout of the call, and needs no answer', async () => {
  for (const bundle of [{ mock_timeout: true }, { mock_timeout: true, mock_response: 'never' }]) {
    const { outcome, tookMs } = await timed(bundle, { timeoutMs: 120 })
    expect(outcome).toMatchObject({
      kind: 'error',
      error: { class: 'timeout', isRetryable: true, isPossiblyBilled: false },
    })
    expect(tookMs).toBeGreaterThanOrEqual(115)
  }
})

test('mock_delay answers later, with an empty text when none is given', async () => {
  const { outcome, tookMs } = await timed({ mock_delay_s: 0.08, mock_response: 'at last' })
  expect(tookMs).toBeGreaterThanOrEqual(75)
  expect(JSON.stringify(outcome)).not.toContain('error')
  const empty = await timed({ mock_delay_s: 0 })
  if (empty.outcome.kind !== 'reply') throw new Error('no reply')
  expect(JSON.parse(empty.outcome.reply.body.toString()).choices[0].message.content).toBe('')
})

test('a delay beyond the timeout of the call is that timeout', async () => {
  const { outcome, tookMs } = await timed({ mock_delay_s: 60, mock_response: 'x' }, { timeoutMs: 50 })
  expect(outcome).toMatchObject({ kind: 'error', error: { class: 'timeout' } })
  expect(tookMs).toBeLessThan(5_000)
})

test('an abort ends the wait of a mock at once, before it and during it', async () => {
  const before = await timed({ mock_delay_s: 60 }, { signal: AbortSignal.abort() })
  const during = await timed({ mock_timeout: true }, { signal: AbortSignal.timeout(30), timeoutMs: 60_000 })
  for (const { outcome, tookMs } of [before, during]) {
    expect(outcome).toMatchObject({ kind: 'error', error: { class: 'api_connection' } })
    expect(tookMs).toBeLessThan(20_000)
  }
})

test('mock_timeout: false is no switch', async () => {
  const call = callOf({ api_base: upstream.url, mock_timeout: false })
  const calls = upstream.ledger.length
  await createProviders(outbound)(call.bundle).call(call)
  expect(upstream.ledger).toHaveLength(calls + 1)
})

test('a canned answer that a filter ended counts as filtered', async () => {
  const outcome = await answer({ choices: [{ finish_reason: 'content_filter' }] })
  expect(outcome).toMatchObject({ kind: 'reply', reply: { isFiltered: true } })
})
