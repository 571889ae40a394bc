import { expect, test } from 'vitest'
import { eventually } from '../support/eventually.ts'
import { completion } from '../support/provider.ts'
import { ask, ownConfig } from '../support/requests.ts'
import { freshKey, gateway, provider, useGateway } from '../support/stage.ts'

// A call that is given up costs its job and everybody behind it no more time than that.

/** Longer than a machine with other things to do stands still, and less than what must not be waited for takes here. */
const AT_ONCE_MS = 6_000

// One slot, so that it shows when it is free. Whoever waited for the back-off of a retry or for the sweeper's next round, the two
// things that come by themselves, would wait for long.
useGateway({
  env: { WORKER_CONCURRENCY: '1', GATEWAY_SWEEP_MS: '20000', GATEWAY_RETRY_INITIAL_MS: '20000' },
  answer: ({ model }) => (model === 'slow' ? { kind: 'hang' } : completion('ok')),
})

const entryOf = (model: string, group: string, params: Record<string, unknown> = {}) =>
  ownConfig({
    url: provider.url,
    key: freshKey(),
    model: `openai/${model}`,
    group,
    ...params,
  }).model_list

/** A config whose group `mine` is slow, with the group `b` as its fallback. */
const slowFirst = (settings: Record<string, unknown> = {}, params: Record<string, unknown> = {}) => ({
  model_list: [...entryOf('slow', 'mine', params), ...entryOf('spare', 'b')],
  fallbacks: [{ mine: ['b'] }],
  num_retries: 0,
  ...settings,
})

/** How soon after the end of the first call the second came. */
function twoCalls(): { gapMs: number } {
  const [first, second] = provider.ledger
  return { gapMs: (second?.startedAt ?? Number.NaN) - (first?.endedAt ?? Number.NaN) }
}

test.for([
  ['the config', slowFirstOf({ timeout: 0.4 }), {}, {}],
  ['the deployment, before the config', slowFirstOf({ timeout: 60 }, { timeout: 0.4 }), {}, {}],
  ['`request_timeout` of the deployment', slowFirstOf({}, { request_timeout: 0.4 }), {}, {}],
  ['the request, before both', slowFirstOf({ timeout: 60 }, { timeout: 50 }), { timeout: 0.4 }, {}],
  [
    'a header, before the request',
    slowFirstOf({ timeout: 60 }),
    { timeout: 50 },
    { 'x-litellm-timeout': '0.4' },
  ],
] as const)(
  'a timeout set by %s cuts the call, and the next hop starts at once',
  async ([, config, request, headers]) => {
    const body = { ...ask(config()), ...request }
    const answer = await gateway.call('POST', '/v1/chat/completions', { body, headers })
    expect(answer).toMatchObject({ status: 200, json: { choices: [{ message: { content: 'ok' } }] } })
    expect(provider.ledger.map(({ model, outcome }) => [model, outcome])).toEqual([
      ['slow', 'left'],
      ['spare', 'replied'],
    ])
    expect(twoCalls().gapMs).toBeLessThan(AT_ONCE_MS)
    const job = await gateway.job(answer.headers.get('x-job-id') ?? '')
    expect(job.attempts[0]).toMatchObject({
      outcome: 'failed',
      error_class: 'timeout',
      status_code: null,
      possibly_billed: true,
    })
    const { started_at: startedAt = 0, ended_at: endedAt = 0 } = job.attempts[0] ?? {}
    expect((endedAt ?? 0) - startedAt).toBeGreaterThan(390)
    // The timeouts that stand behind it are longer.
    expect((endedAt ?? 0) - startedAt).toBeLessThan(30_000)
  },
)

test('a retry goes to the deployment that has not failed, at once', async () => {
  const model_list = [...entryOf('slow', 'mine', { order: 1 }), ...entryOf('spare', 'mine', { order: 2 })]
  const { id } = await gateway.submit(ask({ model_list, num_retries: 1, timeout: 0.4 }))
  expect(await gateway.ended(id)).toMatchObject({ status: 'completed', attempts_made: 2 })
  expect(twoCalls().gapMs).toBeLessThan(AT_ONCE_MS)
})

test('an answer that trickles in for ever is cut at the timeout of the call', async () => {
  provider.answer(({ model }) => (model === 'slow' ? { kind: 'tarpit', everyMs: 20 } : completion('ok')))
  const { id } = await gateway.submit(ask(slowFirst({ timeout: 0.4 })))
  expect(await gateway.ended(id)).toMatchObject({ status: 'completed', attempts_made: 2 })
  expect(twoCalls().gapMs).toBeLessThan(AT_ONCE_MS)
})

test.for([
  ['a cancel', {}, (id: string) => gateway.call('POST', `/v1/jobs/${id}/cancel`), 'cancelled'],
  ['its deadline', { expires_in: 4 }, null, 'expired'],
] as const)(
  'a call that %s gives up leaves its worker’s only slot to the next job at once',
  async ([, options, act, status]) => {
    const stuck = await gateway.submit(ask({ model_list: entryOf('slow', 'mine') }), options)
    await eventually('the call is under way', () => provider.open() === 1)
    const behind = await gateway.submit(ask({ model_list: entryOf('spare', 'mine') }))
    await act?.(stuck.id)
    expect(await gateway.ended(behind.id)).toMatchObject({ status: 'completed' })
    expect(await gateway.ended(stuck.id)).toMatchObject({ status })
    expect(twoCalls().gapMs).toBeLessThan(AT_ONCE_MS)
  },
)

function slowFirstOf(...given: Parameters<typeof slowFirst>) {
  return () => slowFirst(...given)
}
