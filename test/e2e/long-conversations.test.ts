import { afterAll, beforeAll, expect, test } from 'vitest'
import { startGateway, type Gateway } from '../support/gateway.ts'
import { completion, startProvider, type TestProvider } from '../support/provider.ts'
import { ask, ownConfig } from '../support/requests.ts'

const idOf = ({ json }: { json: unknown }) => (json as { id: string }).id

let provider: TestProvider
let gateway: Gateway

beforeAll(async () => {
  provider = await startProvider()
  gateway = await startGateway({ env: { GATEWAY_BODY_BYTES_MAX: '20000' } })
})
afterAll(async () => {
  await gateway?.stop()
  await provider?.close()
})

test('a conversation that is told by previous_response_id grows no larger than a request may be', async () => {
  const output = [{ type: 'message', id: 'm', role: 'assistant', status: 'completed', content: [] }]
  const body = { id: 'resp_x', object: 'response', status: 'completed', output }
  provider.answer(() => ({ ...completion(''), body }))
  const { messages: _messages, ...rest } = ask(ownConfig({ url: provider.url, key: 'sk-own' }))
  const say = (previous?: string) =>
    gateway.call('POST', '/v1/responses', {
      body: { ...rest, input: 'x'.repeat(8_000), previous_response_id: previous },
    })
  const second = await say(idOf(await say()))
  expect(second.status).toBe(200)
  expect(await say(idOf(second))).toMatchObject({
    status: 413,
    json: { error: { code: 'request_too_large' } },
  })
  expect(provider.ledger).toHaveLength(2)
})
