import { describe, expect, test } from 'vitest'
import type { Job } from '../../shared/schemas/job.ts'
import { eventually, gate } from '../support/eventually.ts'
import { completion, failure } from '../support/provider.ts'
import { ask, ownConfig } from '../support/requests.ts'
import { freshKey, gateway, provider, useGateway } from '../support/stage.ts'

useGateway()

const config = (settings: Record<string, unknown> = {}) =>
  ownConfig({ url: provider.url, key: freshKey() }, settings)

test('the attempts of all jobs are the provider’s ledger, call by call', async () => {
  // Some need a second try, some a third, some end in an error that no try mends.
  provider.answer((entry) => {
    const prompt = JSON.stringify(entry.body)
    const calls = provider.ledger.filter(({ body }) => JSON.stringify(body) === prompt).length
    if (prompt.includes('bad')) return failure(400, 'bad_request')
    if (prompt.includes('once') && calls <= 1) return failure(500, 'down')
    if (prompt.includes('cut') && calls <= 1) return { kind: 'cut' }
    return completion('ok')
  })
  const kinds = ['good', 'bad', 'once', 'cut', 'good']
  const prompts = Array.from({ length: 60 }, (_, number) => `${kinds[number % kinds.length]} #${number}!`)
  const shared = config({ num_retries: 2, disable_cooldowns: true })
  const jobs = await Promise.all(
    prompts.map(async (prompt) => ({ prompt, id: (await gateway.submit(ask(shared, prompt))).id })),
  )
  for (const { prompt, id } of jobs) {
    const job = await gateway.ended(id)
    const calls = provider.ledger.filter(({ body }) => JSON.stringify(body).includes(prompt))
    expect(job.status, prompt).toBe(prompt.startsWith('bad') ? 'failed' : 'completed')
    expect(job.attempts, prompt).toHaveLength(calls.length)
    expect(calls, prompt).toHaveLength(/once|cut/.test(prompt) ? 2 : 1)
    // A broken connection may have been billed; a provider's own error answer was not.
    expect(job.attempts[0]?.possibly_billed, prompt).toBe(prompt.startsWith('cut'))
  }
})

test('SIGTERM drains: the calls in flight finish and count, nothing is lost and nothing is called twice', async () => {
  const held = gate()
  provider.answer(() => ({ ...completion('finished'), until: held.opened }))
  const jobs = await Promise.all(Array.from({ length: 20 }, () => gateway.submit(ask(config()))))
  await eventually('all are called', () => provider.open() === jobs.length)
  const leaving = [...gateway.workers]
  // There before they are told to leave: they do not wait for long, and a process may take long to start.
  await gateway.addWorker()
  for (const worker of leaving) worker.kill('SIGTERM')
  const more = await Promise.all(Array.from({ length: 10 }, () => gateway.submit(ask(config()))))
  await eventually('the new worker takes the new ones', () => provider.open() === jobs.length + more.length)
  held.open()
  for (const { id } of [...jobs, ...more]) {
    const job = await gateway.ended(id)
    expect(job).toMatchObject({ status: 'completed', attempts_made: 1 })
    expect(job.attempts).toMatchObject([{ outcome: 'completed', possibly_billed: false }])
  }
  expect(await Promise.all(leaving.map((worker) => worker.ended()))).toEqual(leaving.map(() => 0))
  expect(provider.ledger).toHaveLength(jobs.length + more.length)
})

describe('an idempotency key', () => {
  test('100 submits at once make one job and one call', async () => {
    const body = ask(config())
    const answers = await Promise.all(Array.from({ length: 100 }, () => submit('all-at-once', body)))
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([202]))
    const ids = new Set(answers.map(({ json }) => (json as Job).id))
    expect(ids.size).toBe(1)
    const replayed = answers.filter(({ headers }) => headers.get('idempotent-replayed') === 'true')
    expect(replayed).toHaveLength(99)
    await gateway.ended([...ids].join(''))
    expect(provider.ledger).toHaveLength(1)
  })

  test('synchronous calls with one key wait for the same job and get the same body', async () => {
    const held = gate()
    provider.answer(({ number }) => ({ ...completion(`answer ${number}`), until: held.opened }))
    const body = ask(config())
    const calls = Array.from({ length: 20 }, () =>
      gateway.call('POST', '/v1/chat/completions', { headers: { 'idempotency-key': 'sync-calls' }, body }),
    )
    await eventually('the call is made', () => provider.open() === 1)
    held.open()
    const answers = await Promise.all(calls)
    expect(new Set(answers.map(({ status, text }) => `${status} ${text}`)).size).toBe(1)
    expect(answers[0]?.json).toEqual(completion('answer 1').body)
    expect(provider.ledger).toHaveLength(1)
  })

  test('with another body it is a 422, and with another tenant a job of its own', async () => {
    const first = await submit('taken', ask(config(), 'one'))
    expect(first.status).toBe(202)
    const second = await submit('taken', ask(config(), 'two'))
    expect(second).toMatchObject({ status: 422, json: { error: { code: 'idempotency_mismatch' } } })
    const key = await gateway.tenantKey('other')
    const foreign = await gateway.call('POST', '/v1/jobs', {
      key,
      headers: { 'idempotency-key': 'taken' },
      body: { endpoint: '/v1/chat/completions', body: ask(config(), 'two') },
    })
    expect(foreign.status).toBe(202)
    expect(foreign.headers.get('idempotent-replayed')).toBeNull()
    await gateway.ended((first.json as Job).id)
    await gateway.ended((foreign.json as Job).id, { key })
  })

  test('outlives its result: after the purge a replay is 410, never a second run', async () => {
    const body = ask(config())
    const { json } = await submit('outlives', body)
    const { id } = json as Job
    await gateway.ended(id)
    // What the end of its retention does.
    await gateway.redis.del(gateway.keys.job(id))
    expect(await submit('outlives', body)).toMatchObject({
      status: 410,
      json: { error: { code: 'result_expired' } },
    })
    expect((await gateway.call('GET', `/v1/jobs/${id}`)).status).toBe(410)
    expect(provider.ledger).toHaveLength(1)
  })
})

function submit(key: string, body: object) {
  return gateway.call('POST', '/v1/jobs', {
    headers: { 'idempotency-key': key },
    body: { endpoint: '/v1/chat/completions', body },
  })
}
