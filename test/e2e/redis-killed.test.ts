import { expect, onTestFinished, test } from 'vitest'
import { eventually } from '../support/eventually.ts'
import { startGateway } from '../support/gateway.ts'
import { completion, startProvider } from '../support/provider.ts'
import { ownRedis, startRedis } from '../support/redis.ts'
import type { Durability } from '../support/redis-process.ts'
import { ask, ownConfig } from '../support/requests.ts'

const { isPossible, reason } = ownRedis()
if (!isPossible) console.log(`skipped: ${reason}`)

/** A gateway on a Redis of its own that can be killed, and a provider that takes a moment for each answer. */
async function start(durability: Durability) {
  const redis = await startRedis(durability)
  const provider = await startProvider()
  provider.answer(() => ({ ...completion('ok'), delayMs: 50 }))
  const gateway = await startGateway({ redisUrl: redis.url, workers: 1, env: { WORKER_CONCURRENCY: '8' } })
  onTestFinished(async () => {
    await gateway.stop()
    await provider.close()
    await redis.stop()
  })
  const config = ownConfig({ url: provider.url, key: 'sk-own' }, { num_retries: 2, allowed_fails: 1000 })
  /** Submits until told to stop; gives what was accepted, and when. */
  function submitOn() {
    const accepted: { id: string; at: number }[] = []
    const off = new AbortController()
    const lines = Array.from({ length: 2 }, async () => {
      while (!off.signal.aborted) {
        const job = await gateway.submit(ask(config)).catch(() => null)
        if (job) accepted.push({ id: job.id, at: performance.now() })
        else await eventually('the API can say no again', () => fetch(`${gateway.url}/healthz`))
      }
    })
    return {
      accepted,
      async stop() {
        off.abort()
        await Promise.all(lines)
      },
    }
  }
  return { redis, provider, gateway, submitOn }
}

test.skipIf(!isPossible)(
  'Redis killed while it fsyncs always: every accepted job is there and ends',
  async () => {
    const { redis, gateway, submitOn } = await start('always')
    const submits = submitOn()
    await eventually('some are accepted', () => submits.accepted.length > 60)
    await redis.kill()
    await redis.restart()
    const before = submits.accepted.length
    await eventually('the gateway accepts again', () => submits.accepted.length > before)
    await submits.stop()
    for (const { id } of submits.accepted) {
      const job = await gateway.ended(id)
      expect(job.status, id).toBe('completed')
    }
  },
)

test.skipIf(!isPossible)(
  'Redis killed while it fsyncs each second: at most the last two seconds are gone, and a lost job is told apart (410)',
  async () => {
    const { redis, gateway, submitOn } = await start('everysec')
    const submits = submitOn()
    const startedAt = performance.now()
    await eventually('there are jobs older than two seconds', () => performance.now() - startedAt > 4000)
    await submits.stop()
    const killedAt = performance.now()
    await redis.kill()
    await redis.restart()
    await eventually(
      'the API reads again',
      async () => (await gateway.call('GET', '/v1/jobs')).status === 200,
    )
    for (const { id, at } of submits.accepted) {
      const answer = await gateway.call('GET', `/v1/jobs/${id}`)
      // Half a second is for what the machine takes to write.
      if (killedAt - at > 2500) expect(answer.status, `accepted ${killedAt - at} ms before`).toBe(200)
      else expect([200, 410]).toContain(answer.status)
      if (answer.status === 200) expect((await gateway.ended(id)).status).toBe('completed')
    }
  },
)
