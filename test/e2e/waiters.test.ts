import { expect, onTestFinished, test } from 'vitest'
import { eventually } from '../support/eventually.ts'
import { startGateway } from '../support/gateway.ts'
import { ownRedis, startRedis } from '../support/redis.ts'
import { ask, ownConfig } from '../support/requests.ts'

const JOBS = 30
/** Of each job; `npm run bench:waiters` has 2,000 in all, and figures. */
const WAITERS = 10
const PROVIDER = 'http://127.0.0.1:9'

const { isPossible, reason } = ownRedis()
if (!isPossible) console.log(`skipped: ${reason}`)

test.skipIf(!isPossible)(
  'all who wait for jobs hear of their ends, though Redis was killed meanwhile and no message reached anybody',
  async () => {
    const redis = await startRedis('always')
    const gateway = await startGateway({ redisUrl: redis.url, workers: 0 })
    onTestFinished(async () => {
      await gateway.stop()
      await redis.stop()
    })
    const readCount = async () =>
      Number(/cmdstat_hmget:calls=(\d+)/.exec(await gateway.redis.info('commandstats'))?.[1] ?? 0)
    const body = ask(ownConfig({ url: PROVIDER, key: 'sk-own' }))
    const jobs = await Promise.all(Array.from({ length: JOBS }, () => gateway.submit(body, { delay: 3600 })))
    const before = await readCount()
    const waits = jobs.flatMap(({ id }) =>
      Array.from({ length: WAITERS }, () => gateway.call('GET', `/v1/jobs/${id}?wait=60`)),
    )
    await eventually('all of them wait', async () => (await readCount()) >= before + JOBS * WAITERS, {
      timeoutMs: 30_000,
    })
    await redis.kill()
    await redis.restart()
    for (const { id } of jobs) {
      await eventually('it is cancelled', async () => {
        const { status } = await gateway.call('POST', `/v1/jobs/${id}/cancel`)
        return status === 200
      })
    }
    const answers = await Promise.all(waits)
    const ended = answers.filter(({ json }) => (json as { status?: string }).status === 'cancelled')
    expect(ended).toHaveLength(JOBS * WAITERS)
  },
)
