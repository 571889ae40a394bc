import { describe, expect, test } from 'vitest'
import type { ChatCompletionChunk } from 'openai/resources/chat/completions'
import { SDKS } from '../support/clients.ts'
import { eventually, gate } from '../support/eventually.ts'
import { chunks, completion, failure, inTurn } from '../support/provider.ts'
import { ask, ownConfig } from '../support/requests.ts'
import { freshKey, gateway, provider, useGateway } from '../support/stage.ts'

useGateway({ answer: () => chunks('Hel', 'lo') })

const config = (settings: Record<string, unknown> = {}) =>
  ownConfig({ url: provider.url, key: freshKey() }, { num_retries: 1, ...settings })

/** A streaming call of its own, read by hand. */
async function open(body: object, signal?: AbortSignal) {
  const response = await fetch(`${gateway.url}/v1/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${gateway.masterKey}`, 'content-type': 'application/json' },
    body: JSON.stringify({ stream: true, ...body }),
    signal,
  })
  const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader()
  let text = ''
  return {
    response,
    jobId: response.headers.get('x-job-id') ?? '',
    /** Reads until the text holds this, or to the end. */
    until: async (part?: string): Promise<string> => {
      for (;;) {
        if (part !== undefined && text.includes(part)) return text
        const { done = true, value = '' } = (await reader?.read()) ?? {}
        if (done) return text
        text += value
      }
    },
  }
}

const jobOf = async (id: string) => gateway.ended(id)
const sentBy = ({ events }: ReturnType<typeof chunks>) =>
  events.filter((event) => typeof event === 'string').join('')

describe.each(SDKS)('$name, unmodified', ({ make }) => {
  const client = () => make({ baseURL: gateway.url, apiKey: gateway.masterKey, maxRetries: 0 })

  test('streams a completion', async () => {
    const body = { ...ask(config()), stream: true as const, stream_options: { include_usage: true } }
    const stream = await client().chat.completions.create(body as never)
    const received: ChatCompletionChunk[] = []
    for await (const chunk of stream as unknown as AsyncIterable<ChatCompletionChunk>) received.push(chunk)
    expect(received.map(({ choices }) => choices[0]?.delta.content ?? '').join('')).toBe('Hello')
    expect(received.at(-1)).toMatchObject({ choices: [], usage: { total_tokens: 12 } })
    expect(provider.ledger[0]?.body).toMatchObject({ stream: true, stream_options: { include_usage: true } })
  })

  test('.stream() puts it together', async () => {
    const { messages, ...rest } = ask(config())
    const runner = client().chat.completions.stream({ ...rest, messages: messages as never })
    expect((await runner.finalChatCompletion()).choices[0]?.message.content).toBe('Hello')
  })

  test('throws what broke a stream off, with its code', async () => {
    provider.answer(() => ({
      ...chunks('half'),
      events: [
        ...chunks('half').events.slice(0, 2),
        'data: {"error":{"message":"gone","code":"server_error"}}\n\n',
      ],
    }))
    const stream = await client().chat.completions.create({ ...ask(config()), stream: true } as never)
    const read = async () => {
      for await (const _ of stream as unknown as AsyncIterable<unknown>);
    }
    await expect(read()).rejects.toMatchObject({ code: 'server_error' })
  })
})

test('a stream comes byte for byte, with the headers of one, as soon as it is told', async () => {
  const first = gate()
  const answer = chunks('Grüße ', first.opened, '😀')
  provider.answer(() => answer)
  const { response, until } = await open(ask(config()))
  expect(response.status).toBe(200)
  expect(response.headers.get('content-type')).toBe('text/event-stream; charset=utf-8')
  expect(response.headers.get('cache-control')).toContain('no-transform')
  expect(response.headers.get('x-request-id')).toMatch(/^req_/)
  // The provider has told no more than this.
  expect(await until('Grüße')).not.toContain('😀')
  first.open()
  expect(await until()).toBe(sentBy(answer))
})

test('the job of a stream ends with the whole answer, its usage and attempts', async () => {
  const { jobId, until } = await open(ask(config()))
  await until()
  const job = await jobOf(jobId)
  expect(job).toMatchObject({
    status: 'completed',
    usage: { total_tokens: 12 },
    attempts: [{ outcome: 'completed', status_code: 200 }],
    response: { body: { choices: [{ message: { content: 'Hello' }, finish_reason: 'stop' }] } },
  })
  expect((await gateway.call('GET', `/v1/jobs/${jobId}/result`)).json).toMatchObject({
    object: 'chat.completion',
  })
})

describe('a failure before the first piece', () => {
  test('is retried, and falls back, unseen by the client', async () => {
    const fallback = ownConfig({ url: provider.url, key: 'sk-other', group: 'spare' })
    const own = config({ fallbacks: [{ mine: ['spare'] }] })
    own.model_list.push(...fallback.model_list)
    provider.answer(({ key }) => (key === 'sk-other' ? chunks('Hi') : failure(500, 'down')))
    const { response, until } = await open(ask(own))
    expect(response.status).toBe(200)
    expect(await until()).toContain('"Hi"')
    expect(provider.ledger.map(({ key }) => key === 'sk-other')).toEqual([false, false, true])
  })

  test('also when it comes as the first event of a 200', async () => {
    const error = {
      kind: 'stream' as const,
      events: [': wait\n\n', 'data: {"error":{"message":"busy","code":502}}\n\n'],
    }
    provider.answer(inTurn(error, chunks('again')))
    expect(await (await open(ask(config()))).until()).toContain('again')
    expect(provider.ledger).toHaveLength(2)
  })

  test('has its own status and no stream when nothing is left to try', async () => {
    provider.answer(() => failure(400, 'bad_thing'))
    const { response, until } = await open(ask(config()))
    expect(response.status).toBe(400)
    expect(JSON.parse(await until())).toMatchObject({ error: { code: 'bad_thing' } })
    expect(response.headers.get('x-should-retry')).toBe('false')
  })

  test('a provider that answers without a stream has failed', async () => {
    provider.answer(() => completion('whole'))
    const { response } = await open(ask(config({ num_retries: 0 })))
    expect(response.status).toBe(502)
  })
})

describe('a failure after the first piece', () => {
  test.each([
    ['is cut', { isCut: true }],
    ['just ends', {}],
  ])('%s: an error event, no [DONE], no other call, and the job keeps what came', async (_how, more) => {
    const whole = chunks('half')
    provider.answer(() => ({ ...whole, events: whole.events.slice(0, 2), ...more }))
    const { jobId, until } = await open(ask(config()))
    const text = await until()
    expect(text).toContain('"half"')
    expect(text).toMatch(/data: {"error":{[^\n]*}}\n\n$/)
    expect(text).not.toContain('[DONE]')
    const job = await jobOf(jobId)
    expect(job).toMatchObject({
      status: 'failed',
      attempts: [{ outcome: 'failed', possibly_billed: true }],
      response: { body: { choices: [{ message: { content: 'half' } }] } },
    })
    expect(provider.ledger).toHaveLength(1)
    // What was left half is no result.
    expect((await gateway.call('GET', `/v1/jobs/${jobId}/result`)).status).toBeGreaterThanOrEqual(500)
  })

  test('a killed worker is one: the next does not begin again, and says so', async () => {
    const held = gate()
    provider.answer(() => chunks('half', held.opened, 'more'))
    const { jobId, until } = await open(ask(config()))
    await until('half')
    for (const worker of gateway.workers) worker.kill('SIGKILL')
    await gateway.addWorker()
    const text = await until()
    held.open()
    expect(text).toContain('stream_interrupted')
    expect(await jobOf(jobId)).toMatchObject({
      status: 'failed',
      error: { code: 'stream_interrupted' },
      response: { body: { choices: [{ message: { content: 'half' } }] } },
    })
    expect(provider.ledger).toHaveLength(1)
  })
})

test('a client that leaves does not end the job', async () => {
  const held = gate()
  provider.answer(() => chunks('half', held.opened, 'more'))
  const left = new AbortController()
  const { jobId, until } = await open(ask(config()), left.signal)
  await until('half')
  left.abort()
  await eventually('the job goes on', async () => (await gateway.job(jobId)).status === 'in_progress')
  held.open()
  expect(await jobOf(jobId)).toMatchObject({ status: 'completed' })
})

test('a cancelled stream ends with an error event, and its call is aborted', async () => {
  const held = gate()
  provider.answer(() => chunks('half', held.opened))
  const { jobId, until } = await open(ask(config()))
  await until('half')
  await gateway.call('POST', `/v1/jobs/${jobId}/cancel`)
  expect(await until()).toContain('job_cancelled')
  await eventually('the call is gone', () => provider.open() === 0)
  held.open()
})

test('Prefer does not count for a stream: a 202 would be swallowed', async () => {
  const answer = await gateway.call('POST', '/v1/chat/completions', {
    body: { ...ask(config()), stream: true },
    headers: { prefer: 'respond-async' },
  })
  expect(answer.status).toBe(200)
  expect(answer.headers.get('preference-applied')).toBeNull()
  expect(answer.text).toContain('[DONE]')
})

test('nothing of a stream lies open in Redis or in a log', async () => {
  provider.answer(() => chunks('canary-in-a-stream'))
  const { until } = await open(ask(config()))
  await until()
  const found: string[] = []
  for (const key of await gateway.redis.keys(`${gateway.prefix}:*stream*`)) {
    found.push(JSON.stringify(await gateway.redis.callBuffer('DUMP', key).then((dump) => String(dump))))
  }
  expect(found.length).toBeGreaterThan(0)
  expect(found.join('')).not.toContain('canary')
  expect(gateway.logs()).not.toContain('canary')
})
