import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { runEveryForm } from '../support/every-form.ts'
import { eventually, gate } from '../support/eventually.ts'
import { startGateway, type Gateway } from '../support/gateway.ts'
import { completion, startProvider, type TestProvider } from '../support/provider.ts'
import { startReceiver, type TestReceiver } from '../support/receiver.ts'
import { ownRedis, redisCommand } from '../support/redis.ts'
import { startRedisSentinel, type RedisSentinel } from '../support/redis-sentinel.ts'
import { ask, ownConfig } from '../support/requests.ts'

const { isPossible, reason } = ownRedis()
if (!isPossible) console.log(`skipped: sentinels, since ${reason}`)

describe.runIf(isPossible)('a Redis that sentinels watch', () => {
  let sentinel: RedisSentinel
  let stage: { gateway: Gateway; provider: TestProvider; receiver: TestReceiver }
  beforeAll(async () => {
    sentinel = await startRedisSentinel(redisCommand())
    const [provider, receiver] = [await startProvider(), await startReceiver()]
    const gateway = await startGateway({ redisUrl: sentinel.url, env: { GATEWAY_LIMIT_WINDOW_MS: '2000' } })
    stage = { gateway, provider, receiver }
  })
  afterAll(async () => {
    await stage?.gateway.stop()
    await Promise.all([stage?.provider.close(), stage?.receiver.close()])
    await sentinel?.stop()
  })

  test('serves every form, and after a failover what the replica had goes on, and each call is an attempt', async () => {
    const { gateway, provider } = stage
    await runEveryForm(stage, { key: await gateway.tenantKey('before'), name: 'before' })
    provider.ledger.length = 0
    const held = gate()
    provider.answer(async () => {
      await held.opened
      return completion('after all')
    })
    const key = await gateway.tenantKey('across')
    const config = ownConfig({ url: provider.url, key: 'sk-across' })
    const running = await gateway.submit(ask(config), {}, key)
    await eventually('its call is made', () => provider.ledger.length === 1)
    const waiting = await gateway.submit(ask(config), { delay: 1 }, key)
    const master = await sentinel.master()
    // It waits for what its own connection wrote, and for all that was written before that.
    await master.redis.set(gateway.keys.fsyncMark, 1, 'PX', 60_000)
    await eventually('the replica has it all', async () => (await master.redis.wait(1, 1_000)) > 0)

    const gone = await sentinel.failOver()
    held.open()
    for (const { id } of [running, waiting]) {
      expect(await gateway.ended(id, { key })).toMatchObject({ status: 'completed' })
    }
    const calls = provider.ledger.length
    const { attempts_made: made } = await gateway.job(running.id, key)
    const { attempts_made: madeLater } = await gateway.job(waiting.id, key)
    expect(calls).toBe(made + madeLater)

    await gone.restart()
    await eventually('the old master follows the new one', async () =>
      (await gone.redis.info('replication')).includes('master_link_status:up'),
    )
    await runEveryForm(stage, { key: await gateway.tenantKey('later'), name: 'later' })
  })
})
