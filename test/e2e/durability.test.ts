import { afterAll, beforeAll, expect, test } from 'vitest'
import { batchesOf, inputLines } from '../support/batches.ts'
import { eventually } from '../support/eventually.ts'
import { startGateway, type Gateway } from '../support/gateway.ts'
import { ownValkey, startValkey } from '../support/power-cut.ts'
import { completion, startProvider, type TestProvider } from '../support/provider.ts'
import { ask, ownConfig } from '../support/requests.ts'

// `TEST_VALKEY=/path/to/valkey-server`; `TEST_POWER_CUTS=100` for more than a few cuts.
const { isPossible, reason } = ownValkey()
if (!isPossible) console.log(`skipped: ${reason}`)
const CUTS = Number(process.env['TEST_POWER_CUTS'] ?? 2)
const JOBS_A_CUT = 5

let valkey: Awaited<ReturnType<typeof startValkey>>
let provider: TestProvider
let gateway: Gateway
let config: object

beforeAll(async () => {
  if (!isPossible) return
  valkey = await startValkey('everysec')
  provider = await startProvider()
  gateway = await startGateway({ redisUrl: valkey.url, env: { GATEWAY_FSYNC_TIMEOUT_MS: '2000' } })
  config = ownConfig({ url: provider.url, key: 'sk-own' }, { num_retries: 0 })
})
afterAll(async () => {
  await gateway?.stop()
  await provider?.close()
  await valkey?.stop()
})

async function cutPower(): Promise<void> {
  await valkey.cutPower()
  await valkey.restart()
  await eventually('the API is ready', async () => (await fetch(`${gateway.url}/readyz`)).status === 200)
}

const FSYNC = { durability: 'fsync' }
type Answer = { id: string; error: { code: string; message: string } }
async function submit(headers: Record<string, string>): Promise<{ status: number; json: Answer }> {
  const body = { endpoint: '/v1/chat/completions', body: ask(config) }
  const { status, json } = await gateway.call('POST', '/v1/jobs', { headers, body })
  return { status, json: json as Answer } // a job or an error: the test looks at what it must be
}

test.skipIf(!isPossible)(
  'what was accepted for a tenant with `fsync` outlives the power that is cut right after its 202, and ends',
  { timeout: 60_000 + CUTS * 10_000 },
  async () => {
    provider.answer(() => completion('ok'))
    for (let cut = 0; cut < CUTS; cut += 1) {
      // Gateway keys are not on the disk before anybody waits for it: each round has its own.
      const made = { id: `sure-${cut}`, ...FSYNC }
      expect(await gateway.call('POST', '/v1/admin/tenants', { body: made })).toMatchObject({ status: 200 })
      const key = await gateway.tenantKey(made.id)
      const jobs = await Promise.all(
        Array.from({ length: JOBS_A_CUT }, () => gateway.submit(ask(config), {}, key)),
      )
      await cutPower()
      for (const { id } of jobs)
        expect(await gateway.ended(id, { key })).toMatchObject({ status: 'completed' })
    }
  },
)

test.skipIf(!isPossible)(
  'a batch that was created with `fsync` outlives the power that is cut, with its file; each call of its lines is known',
  async () => {
    provider.ledger.length = 0
    provider.answer(() => completion('ok'))
    const batches = batchesOf(gateway)
    const own = ownConfig({ url: provider.url, key: 'sk-of-the-batch' }, { num_retries: 0 })
    const { id } = await batches.start(inputLines(5), { ...FSYNC, user_config: own })
    await cutPower()
    expect(await batches.ended(id)).toMatchObject({ status: 'completed', request_counts: { completed: 5 } })
    const lines = await batches.lines(id)
    const calls = provider.ledger.filter(({ key }) => key === 'sk-of-the-batch')
    expect(lines.flatMap(({ attempts }) => attempts)).toHaveLength(calls.length)
  },
)

test.skipIf(!isPossible)(
  'by default what was accepted in the last second can be lost; its client is told so and can send it again',
  async () => {
    await eventually('one is lost', async () => {
      const headers = { 'idempotency-key': `key-${performance.now()}` }
      const { id } = (await submit(headers)).json
      await cutPower()
      const { status } = await gateway.call('GET', `/v1/jobs/${id}`)
      if (status === 200) return false
      expect(status).toBe(410)
      const again = await submit(headers)
      expect(again).toMatchObject({ status: 202 })
      return (await gateway.ended(again.json.id)).status === 'completed'
    })
  },
)

test.skipIf(!isPossible)(
  'a provider is called only when that is noted on the disk: a call that is made again after a power cut is marked',
  async () => {
    const own = ownConfig({ url: provider.url, key: 'sk-of-this-job' }, { num_retries: 0 })
    const calls = () => provider.ledger.filter(({ key }) => key === 'sk-of-this-job')
    const cut = Promise.withResolvers<void>()
    provider.answer(async ({ key }) => {
      if (key !== 'sk-of-this-job' || calls().length > 1) return completion('ok')
      gateway.workers[0]?.kill('SIGKILL')
      await valkey.cutPower()
      cut.resolve()
      return completion('nobody reads this')
    })
    const submitted = gateway.submit(ask(own), FSYNC)
    const [{ id }] = await Promise.all([submitted, cut.promise])
    await valkey.restart()
    await gateway.mend()
    const job = await gateway.ended(id)
    expect(job.attempts.map(({ outcome, possibly_billed: isBilled }) => [outcome, isBilled])).toEqual([
      ['lost', true],
      ['completed', false],
    ])
    expect(calls()).toHaveLength(2)
  },
)

test.skipIf(!isPossible)(
  'a disk that takes no writes delays nobody but who asks for it, who is told where the job is and may ask again',
  async () => {
    provider.answer(() => completion('ok'))
    await valkey.stallDisk()
    const headers = { 'idempotency-key': 'the-same', 'x-job-durability': 'fsync' }
    const unsure = submit(headers)
    const others = await Promise.all(Array.from({ length: 10 }, () => gateway.submit(ask(config))))
    for (const { id } of others) expect((await gateway.ended(id)).status).toBe('completed')
    const { status, json } = await unsure
    expect({ status, json }).toMatchObject({
      status: 503,
      json: { error: { code: 'durability_unconfirmed' } },
    })
    await valkey.freeDisk()
    const sure = await submit(headers)
    expect(sure.status).toBe(202)
    expect(json.error.message).toContain(sure.json.id)
    expect((await gateway.ended(sure.json.id)).status).toBe('completed')
  },
)
