import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { eventually, gate } from '../support/eventually.ts'
import { startGateway, type Gateway } from '../support/gateway.ts'
import { chunks, completion, startProvider, type TestProvider } from '../support/provider.ts'
import { ownRedis, startRedis } from '../support/redis.ts'
import type { RedisProcess } from '../support/redis-process.ts'
import { ask, ownConfig } from '../support/requests.ts'

const { isPossible, reason } = ownRedis()
if (!isPossible) console.log(`skipped: ${reason}`)

const sentBy = ({ events }: ReturnType<typeof chunks>) =>
  events.filter((event) => typeof event === 'string').join('')

describe.skipIf(!isPossible)('a stream is told whole, or says that it is not', () => {
  let redis: RedisProcess
  let provider: TestProvider
  let gateway: Gateway

  beforeAll(async () => {
    redis = await startRedis('always')
    provider = await startProvider()
    gateway = await startGateway({
      redisUrl: redis.url,
      env: { GATEWAY_REDIS_TIMEOUT_MS: '900', GATEWAY_STREAM_HEARTBEAT_MS: '300' },
    })
  })
  afterAll(async () => {
    await gateway?.stop()
    await provider?.close()
    await redis?.stop()
  })

  const body = () => ({ ...ask(ownConfig({ url: provider.url, key: 'sk-own' })), stream: true })
  const post = (key: string, sent: object) =>
    fetch(`${gateway.url}/v1/chat/completions`, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${gateway.masterKey}`,
        'content-type': 'application/json',
        'idempotency-key': key,
      },
      body: JSON.stringify(sent),
    })

  /** A stream of several pieces, told and ended. */
  async function told(key: string) {
    const gates = [gate(), gate(), gate()]
    const [a, b, c] = gates
    const answer = chunks('one', a?.opened ?? '', 'two', b?.opened ?? '', 'three', c?.opened ?? '')
    provider.answer(() => answer)
    const sent = body()
    const response = await post(key, sent)
    const id = response.headers.get('x-job-id') ?? ''
    for (const [at, one] of gates.entries()) {
      await eventually(
        'a piece is there',
        async () => (await gateway.redis.xlen(gateway.keys.stream(id))) > at,
      )
      one.open()
    }
    expect(withoutHeartbeats(await response.text())).toBe(sentBy(answer))
    const pieces = await gateway.redis.xlen(gateway.keys.stream(id))
    return {
      id,
      pieces,
      again: async () => withoutHeartbeats(await (await post(key, sent)).text()),
      whole: sentBy(answer),
    }
  }

  test('when Redis was away for longer than a lease while its end came', async () => {
    const held = gate()
    const answer = chunks('half', held.opened, 'rest')
    provider.answer(() => answer)
    const response = await post('away', body())
    const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader()
    let text = ''
    const read = async (part?: string) => {
      for (;;) {
        if (part !== undefined && text.includes(part)) return
        const { done = true, value = '' } = (await reader?.read()) ?? {}
        if (done) return
        text += value
      }
    }
    await read('half')
    await redis.kill()
    held.open()
    await eventually('the leases are given up', () => /No lease could be renewed/.test(gateway.logs()))
    await redis.restart()
    await read()
    expect(withoutHeartbeats(text)).toBe(sentBy(answer))
    expect(await gateway.ended(response.headers.get('x-job-id') ?? '')).toMatchObject({ status: 'completed' })
    expect(provider.ledger).toHaveLength(1)
  })

  test('when its end was lost, or its middle', async () => {
    const { id, pieces, again, whole } = await told('lost')
    expect(pieces).toBeGreaterThan(3)
    expect(await again()).toBe(whole)
    await gateway.redis.xdel(gateway.keys.stream(id), `${pieces}-1`)
    const text = await again()
    // All but the last piece, byte for byte; on a slow machine that one holds more events than the end.
    const kept = text.slice(0, text.indexOf('data: {"error"'))
    expect(kept).toContain('"one"')
    expect(whole.startsWith(kept)).toBe(true)
    expect(kept.length).toBeLessThan(whole.length)
    expect(text).toMatch(/data: {"error":{[^\n]*"code":"stream_interrupted"}}\n\n$/)
    await gateway.redis.xdel(gateway.keys.stream(id), '2-1')
    const less = await again()
    expect(less).not.toContain('"three"')
    expect(less).toContain('stream_interrupted')
  })

  test('a Response that was answered in one piece has none, which its reader is told', async () => {
    const held = gate()
    const output = [{ type: 'message', id: 'm', role: 'assistant', status: 'completed', content: [] }]
    const answer = { id: 'resp_x', object: 'response', status: 'completed', output }
    provider.answer(() => ({ ...completion(''), body: answer, until: held.opened }))
    const { messages: _messages, ...rest } = ask(ownConfig({ url: provider.url, key: 'sk-own' }))
    const sent = { ...rest, input: 'Hi', background: true }
    const { json } = await gateway.call('POST', '/v1/responses', { body: sent })
    const read = gateway.call('GET', `/v1/responses/${(json as { id: string }).id}?stream=true`)
    await eventually('the call is made', () => provider.open() === 1)
    held.open()
    expect((await read).text).toContain('stream_unavailable')
  })
})

/** What a provider has told: heartbeats come between, as long as that takes. */
function withoutHeartbeats(events: string): string {
  return events.replaceAll(/^: .*\n\n/gm, '')
}
