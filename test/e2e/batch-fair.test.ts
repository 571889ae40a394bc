import { expect, onTestFinished, test } from 'vitest'
import { batchesOf, inputLines, lineOf, type TestBatches } from '../support/batches.ts'
import { eventually } from '../support/eventually.ts'
import { completion } from '../support/provider.ts'
import { ask, ownConfig } from '../support/requests.ts'
import { freshKey, gateway, provider, useGateway } from '../support/stage.ts'

const SLOTS = 40
/** Of the heavy tenant's batch; `TEST_BATCH_LINES=50000 npx vitest run test/e2e/batch-fair.test.ts` takes longer. */
const BACKLOG = Number(process.env.TEST_BATCH_LINES ?? 1_500)
const SERVICE_MS = 400
const START_MS = 2000

useGateway({
  workers: 2,
  env: { WORKER_CONCURRENCY: String(SLOTS / 2) },
  answer: () => ({ ...completion('ok'), delayMs: SERVICE_MS }),
})

const config = () => ownConfig({ url: provider.url, key: freshKey() })
const of = async (tenant: string) => batchesOf(gateway, await gateway.tenantKey(tenant))
const callsOf = (prefix: string) => provider.ledger.filter((entry) => lineOf(entry).startsWith(prefix))

/** A batch of the heavy tenant that fills all slots it can get, and is gone at the end of the test. */
async function backlog(batches: TestBatches, count = BACKLOG) {
  const { id } = await batches.start(inputLines(count, 'heavy'), { user_config: config() })
  onTestFinished(async () => {
    await batches.cancel(id)
    expect(await batches.ended(id)).toMatchObject({ status: 'cancelled', request_counts: { total: count } })
  })
  await eventually('it fills its slots', () => callsOf('heavy').length > SLOTS, { timeoutMs: 20_000 })
}

test('beside a large batch of one tenant, another’s job and small batch start within two seconds', async () => {
  await backlog(await of('heavy'))
  const light = await of('light')
  const startedAt = performance.now()
  const [job, batch] = await Promise.all([
    gateway.submit(ask(config(), '<light-job>'), {}, light.key),
    light.start(inputLines(10, 'light-line'), { user_config: config() }),
  ])
  await gateway.ended(job.id, { key: light.key })
  expect(await light.ended(batch.id)).toMatchObject({
    status: 'completed',
    request_counts: { completed: 10 },
  })
  const [first] = callsOf('light-line')
  expect((callsOf('light-job')[0]?.startedAt ?? Infinity) - startedAt).toBeLessThan(START_MS)
  expect((first?.startedAt ?? Infinity) - startedAt).toBeLessThan(START_MS)
})

test('a large batch goes on beside many small ones of other tenants, at its share', async () => {
  await backlog(await of('heavy'), 800)
  const lights = await Promise.all(Array.from({ length: 5 }, (_, number) => of(`light-${number}`)))
  const before = provider.ledger.length
  const started = await Promise.all(
    lights.map(async (light) => ({
      light,
      ...(await light.start(inputLines(25, 'light'), { user_config: config() })),
    })),
  )
  const done = await Promise.all(started.map(({ light, id }) => light.ended(id)))
  for (const batch of done)
    expect(batch).toMatchObject({ status: 'completed', request_counts: { completed: 25 } })
  const since = provider.ledger.slice(before)
  const heavy = since.filter((entry) => lineOf(entry).startsWith('heavy')).length
  // One of six: with all of them there it has a sixth, and more while some are not there yet or any more.
  expect(heavy).toBeGreaterThan(since.length / 12)
  expect(heavy).toBeLessThan(since.length / 2)
})

test('a tenant’s own jobs do not wait for its batch', async () => {
  const heavy = await of('heavy')
  await backlog(heavy, 800)
  for (let round = 0; round < 3; round += 1) {
    const startedAt = performance.now()
    const jobs = await Promise.all(
      Array.from({ length: 5 }, () => gateway.submit(ask(config(), `<job-${round}>`), {}, heavy.key)),
    )
    for (const { id } of jobs) await gateway.ended(id, { key: heavy.key })
    for (const call of callsOf(`job-${round}`)) expect(call.startedAt - startedAt).toBeLessThan(START_MS)
  }
})
