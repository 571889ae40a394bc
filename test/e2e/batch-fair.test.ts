import { expect, onTestFinished, test } from 'vitest'
import type { Batch } from '../../shared/schemas/batch.ts'
import { batchesOf, inputLines, lineOf, type TestBatches } from '../support/batches.ts'
import { eventually, turnstile } from '../support/eventually.ts'
import { completion } from '../support/provider.ts'
import { ask, ownConfig } from '../support/requests.ts'
import { freshKey, gateway, provider, useGateway } from '../support/stage.ts'

const SLOTS = 40
/** Of the heavy tenant's batch; `TEST_BATCH_LINES=50000 npx vitest run test/e2e/batch-fair.test.ts` takes longer. */
const BACKLOG = Number(process.env.TEST_BATCH_LINES ?? 1_500)

useGateway({
  workers: 2,
  env: { WORKER_CONCURRENCY: String(SLOTS / 2) },
})

const config = () => ownConfig({ url: provider.url, key: freshKey() })
const of = async (tenant: string) => batchesOf(gateway, await gateway.tenantKey(tenant))
const callsOf = (prefix: string) => provider.ledger.filter((entry) => lineOf(entry).startsWith(prefix))

const isToRun = ({ status }: Batch) => status !== 'validating'

/**
 * A batch of the heavy tenant that fills all slots it can get, and is gone at the end of the test.
 * @param letAllGo lets its calls end.
 */
async function backlog(batches: TestBatches, letAllGo: () => void, count = BACKLOG) {
  const { id } = await batches.start(inputLines(count, 'heavy'), { user_config: config() })
  onTestFinished(async () => {
    await batches.cancel(id)
    letAllGo()
    expect(await batches.ended(id)).toMatchObject({ status: 'cancelled', request_counts: { total: count } })
  })
  await eventually('it fills its slots', () => callsOf('heavy').length >= SLOTS / 2)
}

test('beside a large batch of one tenant, another’s job and small batch go through while a few of its calls end', async () => {
  const calls = turnstile()
  provider.answer((entry) => ({
    ...completion('ok'),
    ...(lineOf(entry).startsWith('heavy') ? { until: calls.pass() } : {}),
  }))
  await backlog(await of('heavy'), calls.open)
  const light = await of('light')
  const [job, batch] = await Promise.all([
    gateway.submit(ask(config(), '<light-job>'), {}, light.key),
    light.start(inputLines(10, 'light-line'), { user_config: config() }),
  ])
  await light.when('is to run', batch.id, isToRun)
  // Those that run may end, and as many that were let in already; more than a thousand are there.
  calls.letThrough(2 * SLOTS)
  expect(await gateway.ended(job.id, { key: light.key })).toMatchObject({ status: 'completed' })
  expect(await light.ended(batch.id)).toMatchObject({
    status: 'completed',
    request_counts: { completed: 10 },
  })
})

test('a large batch goes on beside many small ones of other tenants, at its share', async () => {
  const calls = turnstile()
  provider.answer(() => ({ ...completion('ok'), until: calls.pass() }))
  await backlog(await of('heavy'), calls.open, 800)
  const names = Array.from({ length: 5 }, (_, number) => `light-${number}`)
  const lights = await Promise.all(names.map((name) => of(name)))
  const started = await Promise.all(
    lights.map(async (light, number) => ({
      light,
      ...(await light.start(inputLines(60, `light-${number}`), { user_config: config() })),
    })),
  )
  // Calls end once all batches are to run, for as long as none of the small ones is through.
  for (const { light, id } of started) await light.when('is to run', id, isToRun)
  const before = provider.ledger.length
  const isOver = () => names.some((name) => callsOf(name).length === 60)
  await eventually('one of the small ones is through', () => {
    if (!isOver()) calls.letThrough(SLOTS / 4)
    return isOver()
  })
  const since = provider.ledger.slice(before)
  const heavy = since.filter((entry) => lineOf(entry).startsWith('heavy')).length
  // One of six.
  expect(heavy).toBeGreaterThan(since.length / 12)
  expect(heavy).toBeLessThan(since.length / 2)
  calls.open()
  for (const { light, id } of started)
    expect(await light.ended(id)).toMatchObject({ status: 'completed', request_counts: { completed: 60 } })
})

test('a tenant’s own jobs do not wait for its batch', async () => {
  const heavy = await of('heavy')
  const calls = turnstile()
  provider.answer((entry) => ({
    ...completion('ok'),
    ...(lineOf(entry).startsWith('heavy') ? { until: calls.pass() } : {}),
  }))
  await backlog(heavy, calls.open, 800)
  for (let round = 0; round < 3; round += 1) {
    const jobs = await Promise.all(
      Array.from({ length: 5 }, () => gateway.submit(ask(config(), `<job-${round}>`), {}, heavy.key)),
    )
    // Those that run may end, and as many that were let in already; hundreds more are there.
    calls.letThrough(2 * SLOTS)
    for (const { id } of jobs)
      expect(await gateway.ended(id, { key: heavy.key })).toMatchObject({ status: 'completed' })
  }
})
