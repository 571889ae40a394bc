import { request, type IncomingMessage } from 'node:http'
import { expect, test } from 'vitest'
import { eventually, gate } from '../support/eventually.ts'
import { chunks } from '../support/provider.ts'
import { ask, ownConfig } from '../support/requests.ts'
import { freshKey, gateway, provider, useGateway } from '../support/stage.ts'

useGateway()

test('an API process ends though a reader of a stream has stopped to read', async () => {
  const held = gate()
  const text = 'x'.repeat(60_000)
  provider.answer(() => chunks(...Array.from({ length: 300 }, () => text), held.opened, 'end'))
  const { hostname, port } = new URL(gateway.url)
  const headers = { authorization: `Bearer ${gateway.masterKey}`, 'content-type': 'application/json' }
  const response = await new Promise<IncomingMessage>((resolve) => {
    const sent = request({ hostname, port, path: '/v1/chat/completions', method: 'POST', headers }, resolve)
    sent.end(JSON.stringify({ ...ask(ownConfig({ url: provider.url, key: freshKey() })), stream: true }))
  })
  response.on('error', () => {})
  await eventually(
    'all is told',
    async () => (await gateway.redis.xlen(gateway.keys.stream(String(response.headers['x-job-id'])))) >= 100,
  )
  gateway.api.kill('SIGTERM')
  try {
    expect(await gateway.api.ended()).toBe(0)
  } finally {
    held.open()
    response.destroy()
  }
})
