import { OpenAI } from 'openai'
import { describe, expect, test } from 'vitest'
import type { Job } from '../../shared/schemas/job.ts'
import { chat, SDKS } from '../support/clients.ts'
import { eventually, gate } from '../support/eventually.ts'
import { completion, failure } from '../support/provider.ts'
import { ask, ownConfig } from '../support/requests.ts'
import { freshKey, gateway, provider, useGateway } from '../support/stage.ts'

useGateway()

const isQuick = (ms: number) => ms < 150

function freshConfig(settings: Record<string, unknown> = {}) {
  return ownConfig({ url: provider.url, key: freshKey() }, { num_retries: 0, ...settings })
}

async function thrown(reply: Promise<unknown>): Promise<unknown> {
  return reply.then(
    () => null,
    (error: unknown) => error,
  )
}

describe.each(SDKS)('$name, unmodified', ({ make }) => {
  const client = (extra: object = {}) =>
    make({ baseURL: gateway.url, apiKey: gateway.masterKey, maxRetries: 0, ...extra })

  test.each(['', '/v1', '/v1/'])('completes with a base URL that ends in "%s"', async (ending) => {
    const reply = await chat(client({ baseURL: gateway.url + ending }), {
      model: 'mine',
      user_config: freshConfig(),
    })
    expect(reply.choices[0]?.message.content).toBe('ok')
    expect(reply.usage?.total_tokens).toBe(12)
    expect(provider.ledger).toHaveLength(1)
  })

  test('gets the provider’s body byte for byte, unknown fields included', async () => {
    const body = { ...completion('x').body, system_fingerprint: 'fp', vendor: { logits: [1, 2] } }
    provider.answer(() => ({ kind: 'reply', status: 200, body }))
    const reply = await chat(client(), { model: 'mine', user_config: freshConfig() })
    expect(reply).toMatchObject(body)
  })

  test('a wrong gateway key is its AuthenticationError', async () => {
    const error = await thrown(chat(client({ apiKey: 'sk-wrong' }), { model: 'mine' }))
    expect(error).toMatchObject({ status: 401, code: 'invalid_api_key', type: 'authentication_error' })
    expect(classOf(error)).toBe('AuthenticationError')
  })

  test('a mistake in user_config is its BadRequestError with the JSON path as param', async () => {
    const config = freshConfig({ num_retrys: 1 })
    const error = await thrown(chat(client(), { model: 'mine', user_config: config }))
    expect(classOf(error)).toBe('BadRequestError')
    expect(error).toMatchObject({ status: 400, param: 'user_config.num_retrys' })
    expect(String(error)).toContain('num_retries')
  })

  test.each([
    [400, 'BadRequestError'],
    [401, 'AuthenticationError'],
    [403, 'PermissionDeniedError'],
    [404, 'NotFoundError'],
    [422, 'UnprocessableEntityError'],
    [500, 'InternalServerError'],
  ])('a provider’s %i arrives as its %s, and its own retries add no call', async (status, name) => {
    provider.answer(() => failure(status, 'scripted_code'))
    const error = await thrown(chat(client({ maxRetries: 2 }), { model: 'mine', user_config: freshConfig() }))
    expect(classOf(error)).toBe(name)
    expect(error).toHaveProperty('status', status)
    expect(provider.ledger).toHaveLength(1)
  })
})

describe('ways to get a result', () => {
  test('respond-async answers 202 with a job; its long-poll and its result give the completion', async () => {
    const held = gate()
    provider.answer(() => ({ ...completion('later'), until: held.opened }))
    const answer = await gateway.call('POST', '/v1/chat/completions', {
      body: ask(freshConfig()),
      headers: { prefer: 'respond-async' },
    })
    expect(answer.status).toBe(202)
    const { id } = answer.json as Job
    expect(answer.headers.get('location')).toBe(`/v1/jobs/${id}`)
    const poll = gateway.call('GET', `/v1/jobs/${id}?wait=20`)
    held.open()
    expect((await poll).json).toMatchObject({ id, status: 'completed', attempts_made: 1 })
    const result = await gateway.call('GET', `/v1/jobs/${id}/result`)
    expect(result.status).toBe(200)
    expect(result.json).toEqual(completion('later').body)
  })

  test('respond-async with wait: 200 with the completion when it is done in time, else the 202', async () => {
    const headers = { prefer: 'respond-async, wait=10' }
    const quick = await gateway.call('POST', '/v1/chat/completions', { body: ask(freshConfig()), headers })
    expect(quick.status).toBe(200)
    expect(quick.json).toEqual(completion('ok').body)

    const held = gate()
    provider.answer(() => ({ ...completion('slow'), until: held.opened }))
    const slow = await gateway.call('POST', '/v1/chat/completions', {
      body: ask(freshConfig()),
      headers: { prefer: 'respond-async, wait=1' },
    })
    expect(slow.status).toBe(202)
    held.open()
    expect((await gateway.ended((slow.json as Job).id)).status).toBe('completed')
  })

  test('a long-poll wakes within moments of the end, not when it looks again', async () => {
    const delays: number[] = []
    // It looks again after seconds. A busy machine may delay any one, so as many are tried as it takes; three are no accident.
    while (delays.filter(isQuick).length < 3 && delays.length < 20) {
      const held = gate()
      provider.answer(() => ({ ...completion('now'), until: held.opened }))
      const { id } = await gateway.submit(ask(freshConfig()))
      await eventually('the provider is called', () => provider.open() === 1)
      const poll = gateway.call('GET', `/v1/jobs/${id}?wait=20`)
      await eventually('the job is in progress', async () => (await gateway.job(id)).status === 'in_progress')
      held.open()
      await poll
      delays.push(performance.now() - (provider.ledger.at(-1)?.endedAt ?? 0))
    }
    expect(delays.filter(isQuick).length, delays.join(' ')).toBe(3)
  })
})

describe('cancel', () => {
  test('a running job’s provider call is aborted within moments, in whichever process it runs', async () => {
    provider.answer(() => ({ kind: 'hang' }))
    // As many as there are processes and more: each worker has some.
    const config = freshConfig()
    const jobs = await Promise.all(Array.from({ length: 12 }, () => gateway.submit(ask(config))))
    await eventually('all are called', () => provider.open() === jobs.length)
    const delays: number[] = []
    for (const [index, { id }] of jobs.entries()) {
      expect((await gateway.call('POST', `/v1/jobs/${id}/cancel`)).status).toBe(200)
      const answeredAt = performance.now()
      await eventually('its call is given up', () => provider.open() === jobs.length - index - 1)
      delays.push(performance.now() - answeredAt)
    }
    // A worker looks after its jobs every two seconds. A busy machine may delay any one; half of them are no accident.
    expect(delays.filter((ms) => ms < 400).length, delays.join(' ')).toBeGreaterThanOrEqual(6)
    expect(provider.ledger.every(({ outcome }) => outcome === 'left')).toBe(true)
    for (const { id } of jobs) {
      const job = await gateway.ended(id)
      expect(job).toMatchObject({ status: 'cancelled', error: { code: 'job_cancelled' } })
      expect(job.attempts).toMatchObject([{ outcome: 'aborted', possibly_billed: true }])
    }
  })

  test('of many cancels none is lost to a job that is just being let in', async () => {
    provider.answer(() => ({ kind: 'hang' }))
    const config = freshConfig()
    // More than fit: each cancelled job lets the next one in while that one is being cancelled too.
    const jobs = await Promise.all(Array.from({ length: 200 }, () => gateway.submit(ask(config))))
    await eventually('the slots are full', () => provider.open() >= 80)
    await Promise.all(jobs.map(({ id }) => gateway.call('POST', `/v1/jobs/${id}/cancel`)))
    for (const { id } of jobs) expect((await gateway.ended(id)).status).toBe('cancelled')
    await eventually('no call is open', () => provider.open() === 0)
  })

  test('a delayed job is cancelled at once and never called', async () => {
    const { id } = await gateway.submit(ask(freshConfig()), { delay: 3600 })
    const answer = await gateway.call('POST', `/v1/jobs/${id}/cancel`)
    expect(answer.json).toMatchObject({ id, status: 'cancelled' })
    expect(provider.ledger).toEqual([])
  })

  test('a job that has ended stays as it is', async () => {
    const { id } = await gateway.submit(ask(freshConfig()))
    await gateway.ended(id)
    const answer = await gateway.call('POST', `/v1/jobs/${id}/cancel`)
    expect(answer).toMatchObject({ status: 200, json: { id, status: 'completed' } })
  })
})

test('another tenant’s job is a 404 in every way', async () => {
  const stranger = await gateway.tenantKey('stranger')
  const { id } = await gateway.submit(ask(freshConfig()))
  await gateway.ended(id)
  const ways: [string, string][] = [
    ['GET', `/v1/jobs/${id}`],
    ['GET', `/v1/jobs/${id}/result`],
    ['POST', `/v1/jobs/${id}/cancel`],
  ]
  for (const [method, path] of ways) {
    expect((await gateway.call(method, path, { key: stranger })).status, `${method} ${path}`).toBe(404)
  }
  const list = await gateway.call('GET', '/v1/jobs', { key: stranger })
  expect(list.json).toMatchObject({ data: [] })
})

test('the SDK lists the operator’s models', async () => {
  const models = await new OpenAI({ baseURL: gateway.url, apiKey: gateway.masterKey }).models.list()
  expect(models.data).toEqual([])
})

function classOf(error: unknown): string | undefined {
  return error instanceof Error ? error.constructor.name : undefined
}
