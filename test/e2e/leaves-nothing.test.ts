import { readdir } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { parseAccount } from '../../shared/tenants/accounts.ts'
import { oddKeys } from '../support/at-rest.ts'
import { eventually } from '../support/eventually.ts'
import { chunks, completion, failure } from '../support/provider.ts'
import { startReceiver } from '../support/receiver.ts'
import { ask, ownConfig } from '../support/requests.ts'
import { gateway, provider, useGateway } from '../support/stage.ts'

useGateway({
  env: {
    GATEWAY_SYNC_RETENTION_MS: '1000',
    GATEWAY_RESULT_RETENTION_MS: '1000',
    GATEWAY_BATCH_RETENTION_MS: '1000',
    GATEWAY_EVENT_RETENTION_MS: '2000',
    GATEWAY_DELIVERY_RETENTION_MS: '1000',
    GATEWAY_RETRY_INITIAL_MS: '20',
  },
})

const config = () => ownConfig({ url: provider.url, key: 'sk-own' }, { num_retries: 0 })

test('when all has ended and its time is over, nothing of it is left in Redis', async () => {
  const receiver = await startReceiver()
  const settings = { id: 'acme', retention: { files_seconds: 1 } }
  expect((await gateway.call('POST', '/v1/admin/tenants', { body: settings })).status).toBe(200)
  const key = await gateway.tenantKey('acme')
  const call = (method: string, path: string, body?: object, headers: Record<string, string> = {}) =>
    gateway.call(method, path, { body, key, headers })
  const made = async (path: string, body: object, headers?: Record<string, string>) => {
    const answer = await call('POST', path, body, headers)
    expect(answer.status, `${path}: ${answer.text}`).toBeLessThan(300)
    return answer.json as { id: string }
  }
  const webhook = { url: receiver.url }
  const endpoint = await made('/v1/webhook_endpoints', {
    name: 'all',
    url: receiver.url,
    event_types: ['job.completed', 'batch.completed'],
  })
  const credential = await made('/v1/credentials', { name: 'own', user_config: config() })

  provider.answer(({ body, text }) => {
    if (body.stream === true) return chunks('some text')
    if (text.includes('slow')) return { kind: 'hang' }
    return text.includes('fail') ? failure(400, 'bad') : completion('ok')
  })
  const job = (content: string, options: object = {}) =>
    made('/v1/jobs', { endpoint: '/v1/chat/completions', body: ask(config(), content), ...options })
  // Held calls, streams, Responses, jobs of all kinds of ends, batches, files: one of each.
  await made('/v1/chat/completions', ask(config()), { 'x-stainless-retry-count': '0' })
  await made('/v1/chat/completions', { ...ask(config()), job: { webhook } })
  const { model, user_config } = ask(config())
  await made('/v1/responses', { model, input: 'hi', user_config, background: true })
  expect((await call('POST', '/v1/chat/completions', { ...ask(config()), stream: true })).text).toContain(
    '[DONE]',
  )
  await made('/v1/chat/completions', {
    model: 'mine',
    messages: [{ role: 'user', content: 'hi' }],
    credential: credential.id,
  })
  await job('told', { webhook, metadata: { a: 'b' } })
  await job('again', { idempotency_key: 'once', priority: 'high', customer: 'a customer' })
  await job('soon gone', { result_ttl: 0 })
  await job('slow', { expires_in: 2 })
  await job('fail', { webhook: { ...webhook, include_result: true } })
  const late = await job('never', { delay: 3600, customer: 'another' })
  const line = (id: string, content: string) => ({
    custom_id: id,
    method: 'POST',
    url: '/v1/chat/completions',
    body: ask(config(), content),
  })
  await made('/v1/batches', {
    endpoint: '/v1/chat/completions', completion_window: '24h', requests: [line('a', 'one'), line('b', 'fail')], webhook, customer: 'batches',
  }) // oxfmt-ignore
  const form = new FormData()
  form.set('purpose', 'batch')
  form.set('file', new Blob([`${JSON.stringify(line('a', 'one'))}\n`]), 'input.jsonl')
  const upload = await fetch(`${gateway.url}/v1/files`, {
    method: 'POST',
    headers: { authorization: `Bearer ${key}` },
    body: form,
  })
  expect(upload.status).toBe(200)

  await eventually('all are told', () => receiver.received.length >= 6)
  expect((await call('POST', `/v1/jobs/${late.id}/cancel`)).status).toBe(200)
  expect((await call('DELETE', `/v1/webhook_endpoints/${endpoint.id}`)).status).toBe(200)
  expect((await call('DELETE', `/v1/credentials/${credential.id}`)).status).toBe(200)

  await eventually(
    'nothing is left',
    async () => {
      const odd = await oddKeys(gateway.redis, gateway.prefix)
      if (odd.length > 0) throw new Error(odd.map(({ name }) => name).join('\n'))
      return true
    },
    { everyMs: 500 },
  )
  // What was counted has been taken off again, to the last byte.
  const accounts = await gateway.redis.keys(`${gateway.keys.accountPrefix}*`)
  expect(accounts.length).toBeGreaterThanOrEqual(4)
  for (const account of accounts) {
    if (account === gateway.keys.account('*')) {
      expect(await gateway.redis.hget(account, 'reserved')).toBe('0')
      continue
    }
    const { live, bytes, ended, reserved, held } = parseAccount(await gateway.redis.get(account))
    expect([live, bytes, ended, reserved, held], account).toEqual([0, 0, 0, 0, 0])
  }
  expect(await gateway.redis.hgetall(gateway.keys.batchBusy)).toEqual({ '*': '0' })
  const files = await readdir(gateway.filesFolder, { recursive: true, withFileTypes: true })
  expect(files.filter((entry) => entry.isFile()).map(({ name }) => name)).toEqual([])
  await receiver.close()
})
