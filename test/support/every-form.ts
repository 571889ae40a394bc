import { expect } from 'vitest'
import { batchesOf, inputLine } from './batches.ts'
import { eventually, gate } from './eventually.ts'
import type { Gateway } from './gateway.ts'
import { chunks, completion, type TestProvider } from './provider.ts'
import type { TestReceiver } from './receiver.ts'
import { ask, ownConfig } from './requests.ts'

/**
 * Whatever a tenant can do with a job, once: a call that waits, one that streams, a job with a webhook, one that is cancelled,
 * a batch. Fails when one of them does not come to its end.
 * @param options.key A gateway key of the tenant. @param options.name Names its prompts and its provider key.
 * @returns ids of the jobs.
 */
export async function runEveryForm(
  { gateway, provider, receiver }: { gateway: Gateway; provider: TestProvider; receiver: TestReceiver },
  { key, name }: { key: string; name: string },
): Promise<string[]> {
  const config = ownConfig({ url: provider.url, key: `sk-${name}` }, { num_retries: 0 })
  const held = gate()
  provider.answer(async ({ text, body }) => {
    if (text.includes('to be cancelled')) await held.opened
    return body.stream ? chunks('one ', 'two') : completion(name)
  })
  const call = (body: object) => gateway.call('POST', '/v1/chat/completions', { key, body })

  const sync = await call(ask(config, `<${name}>`))
  expect(sync.status, sync.text).toBe(200)
  expect(sync.text).toContain(name)
  const stream = await call({ ...ask(config, `<${name}>`), stream: true })
  expect(stream.status, stream.text).toBe(200)
  expect(stream.text).toContain('[DONE]')

  const told = await gateway.submit(ask(config), { webhook: { url: receiver.url } }, key)
  expect(await gateway.ended(told.id, { key })).toMatchObject({ status: 'completed' })
  await eventually('the webhook arrives', () =>
    receiver.received.some(({ event }) => event.data.id === told.id),
  )

  const cancelled = await gateway.submit(ask(config, 'to be cancelled'), {}, key)
  await gateway.call('POST', `/v1/jobs/${cancelled.id}/cancel`, { key })
  held.open()
  expect(await gateway.ended(cancelled.id, { key })).toMatchObject({ status: 'cancelled' })

  const batches = batchesOf(gateway, key)
  const input = await batches.upload([inputLine(`${name}-0`, { user_config: config })])
  const batch = await batches.ended((await batches.create(input.id)).id)
  expect(batch).toMatchObject({ status: 'completed', request_counts: { completed: 1 } })
  return [told.id, cancelled.id]
}
