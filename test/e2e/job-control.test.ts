import { expect, test } from 'vitest'
import { openaiClient } from '../support/clients.ts'
import { eventually, gate } from '../support/eventually.ts'
import { chunks, completion, failure } from '../support/provider.ts'
import { ask, ownConfig } from '../support/requests.ts'
import { freshKey, gateway, provider, useGateway } from '../support/stage.ts'

useGateway()

const config = () => ownConfig({ url: provider.url, key: freshKey() }, { num_retries: 0 })
const sdk = () => openaiClient(`${gateway.url}/v1`, gateway.masterKey)
const traces = (id: string) => gateway.redis.keys(`${gateway.prefix}*${id}*`)

test('a job that is deleted while its answer streams is called off, and leaves nothing', async () => {
  provider.answer(() => chunks('Hel', gate().opened, 'lo'))
  const { id } = await gateway.submit({ ...ask(config()), stream: true })
  await eventually('its first piece is told', () => gateway.redis.exists(gateway.keys.stream(id)))
  expect(await sdk().delete(`/jobs/${id}`)).toEqual({ id, object: 'job', deleted: true })
  expect((await gateway.call('GET', `/v1/jobs/${id}`)).status).toBe(410)
  await eventually('the provider is left', () => provider.open() === 0)
  await eventually('nothing is left of it', async () => (await traces(id)).length === 0)
  expect(await gateway.redis.zscore(gateway.keys.window, id)).toBeNull()
  // Its worker is free for others.
  provider.answer(() => completion('next'))
  const next = await gateway.submit(ask(config()))
  expect((await gateway.ended(next.id)).status).toBe('completed')
})

test('a failed job is run again on fresh credentials, with its own settings', async () => {
  provider.answer(() => failure(500, 'down'))
  const old = await gateway.submit({ ...ask(config(), 'again, please'), timeout: 33 })
  expect((await gateway.ended(old.id)).status).toBe('failed')
  provider.answer(() => completion('now it works'))
  const key = freshKey('fresh')
  const again = await sdk().post<{ id: string; retry_of: string }>(`/jobs/${old.id}/retry`, {
    body: { user_config: ownConfig({ url: provider.url, key }) },
  })
  expect(again.retry_of).toBe(old.id)
  expect((await gateway.ended(again.id)).status).toBe('completed')
  const call = provider.ledger.at(-1)
  expect(call?.key).toBe(key)
  expect(call?.body['messages']).toEqual([{ role: 'user', content: 'again, please' }])
  expect((await gateway.job(old.id)).retried_by).toBe(again.id)
})
