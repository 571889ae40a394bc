import { expect, onTestFinished, test } from 'vitest'
import { batchesOf, countOf, inputLine, inputLines, lineOf, type ResultLine } from '../support/batches.ts'
import { eventually, gate, moment } from '../support/eventually.ts'
import { startGateway } from '../support/gateway.ts'
import { completion, failure, startProvider, type LedgerEntry } from '../support/provider.ts'
import { ownRedis, startRedis } from '../support/redis.ts'
import { ownConfig } from '../support/requests.ts'
import { freshKey, gateway, provider, useGateway } from '../support/stage.ts'

/** Lines of the batch whose processes are killed. `TEST_BATCH_LINES=5000 npx vitest run test/e2e/batch-crash.test.ts` takes longer. */
const LINES = Number(process.env.TEST_BATCH_LINES ?? 240)
const KILLS = 3
const SLOTS = 10

const { isPossible, reason } = ownRedis()
if (!isPossible) console.log(`skipped: ${reason}`)

useGateway({
  workers: 2,
  env: {
    WORKER_CONCURRENCY: String(SLOTS),
    // No line fails for its crashes.
    GATEWAY_CRASHES_MAX: '20',
  },
})

const config = (url = provider.url) => ownConfig({ url, key: freshKey() }, { num_retries: 0 })
const isBad = (customId: string) => customId.endsWith('7')
const customIds = (results: readonly ResultLine[]) => results.map((result) => result.custom_id)
const alive = () => gateway.workers.filter((one) => !one.hasEnded())
const sorted = (names: readonly string[]) => names.toSorted()

test('workers and API killed again and again: each line has one end, and only calls in flight are repeated', async () => {
  const part = LINES / (KILLS + 1)
  const kills = Array.from({ length: KILLS }, () => gate())
  provider.answer((entry) => ({
    ...(isBad(lineOf(entry)) ? failure(400, 'bad_line') : completion(`answer to ${lineOf(entry)}`)),
    delayMs: 100,
    // Calls are in flight at each kill, however long this machine takes for it.
    until: kills[Math.floor((entry.number - 1) / part) - 1]?.opened,
  }))
  const batches = batchesOf(gateway)
  const lines = inputLines(LINES)
  await Promise.all(Array.from({ length: KILLS - 1 }, () => gateway.addWorker()))
  const { id } = await batches.start(lines, { user_config: config() })
  await replaceKilledApi()
  for (const [index, worker] of alive().slice(0, KILLS).entries()) {
    const answered = (index + 1) * part
    await eventually('some more calls are made', () => provider.ledger.length >= answered + SLOTS / 2)
    // What has an answer is settled: only calls that have none are in flight.
    await batches.when('has settled all answers', id, ({ progress: { completed, failed } }) => {
      const [first, rest] = [provider.ledger.slice(0, answered), provider.ledger.slice(answered)]
      const replies = first.filter(({ outcome }) => outcome === 'replied').length
      const areHeld = first.every(isOver) && !rest.some(isOver)
      return areHeld && completed + failed === replies
    })
    worker.kill('SIGKILL')
    await worker.ended()
    // Until its calls are cut off: no answer is sent to a dead socket, and taken for one that came.
    await moment()
    if (index === 1) await replaceKilledApi()
    kills[index]?.open()
  }
  const batch = await batches.ended(id)

  const names = lines.map((line) => line.custom_id)
  const bad = names.filter(isBad).length
  expect(batch).toMatchObject({
    status: 'completed',
    request_counts: { total: LINES, completed: LINES - bad, failed: bad },
    progress: { queued: 0, in_progress: 0, parked: 0, completed: LINES - bad, failed: bad },
    usage: { input_tokens: 7 * (LINES - bad), output_tokens: 5 * (LINES - bad) },
  })
  const { output, error } = await batches.results(batch)
  expect(sorted(customIds([...output, ...error]))).toEqual(sorted(names))
  expect(customIds(error).every(isBad)).toBe(true)
  for (const { custom_id: name, response } of output)
    expect(JSON.stringify(response?.body)).toContain(`answer to ${name}"`)

  const calls = Map.groupBy(provider.ledger, lineOf)
  let lostCalls = 0
  for (const { custom_id: name, attempts } of await batches.lines(id)) {
    const lost = attempts.filter(({ outcome }) => outcome === 'lost')
    const made = calls.get(name)?.length ?? 0
    lostCalls += made - 1
    expect(made, name).toBeGreaterThan(0)
    // A call noted and then killed may not have left; one that was made is always noted.
    expect(made, name).toBeLessThanOrEqual(attempts.length)
    expect(attempts.length - lost.length, name).toBe(1)
    expect(lost.every((attempt) => attempt.possibly_billed)).toBe(true)
  }
  expect(provider.ledger).toHaveLength(LINES + lostCalls)
  expect(lostCalls).toBeGreaterThan(0)
  expect(lostCalls).toBeLessThanOrEqual(KILLS * SLOTS)
  const repeated = [...calls.values()].flatMap((made) => made.slice(0, -1))
  expect(repeated.filter(({ outcome }) => outcome !== 'left').map(lineOf)).toEqual([])
})

async function replaceKilledApi(): Promise<void> {
  gateway.api.kill('SIGKILL')
  await gateway.replaceApi()
}

function isOver({ outcome }: LedgerEntry): boolean {
  return outcome !== 'open'
}

test('a worker that is told to end in the middle of a batch finishes its calls: none is repeated, none is lost', async () => {
  provider.answer(() => ({ ...completion('ok'), delayMs: 150 }))
  await gateway.addWorker()
  const batches = batchesOf(gateway)
  const lines = inputLines(120)
  const { id } = await batches.start(lines, { user_config: config() })
  await eventually('some calls are made', () => provider.ledger.length >= 30)
  const [leaving] = alive()
  leaving?.kill('SIGTERM')
  expect(await leaving?.ended()).toBe(0)
  const batch = await batches.ended(id)
  expect(batch).toMatchObject({ status: 'completed', request_counts: { total: 120, completed: 120 } })
  const names = lines.map((line) => line.custom_id)
  expect(sorted(customIds((await batches.results(batch)).output))).toEqual(sorted(names))
  expect(sorted(provider.ledger.map(lineOf))).toEqual(sorted(names))
  for (const { attempts } of await batches.lines(id))
    expect(attempts).toMatchObject([{ outcome: 'completed' }])
})

test.skipIf(!isPossible)(
  'Redis killed in the middle of a batch while it fsyncs always: nothing is lost, and nothing is called twice',
  async () => {
    const redis = await startRedis('always')
    const own = await startProvider()
    // Longer than Redis is away: calls in flight stay their worker's.
    const env = { GATEWAY_LEASE_MS: '12000', GATEWAY_LOCK_MS: '15000' }
    const stage = await startGateway({ redisUrl: redis.url, workers: 2, env })
    onTestFinished(async () => {
      await stage.stop()
      await own.close()
      await redis.stop()
    })
    own.answer(() => ({ ...completion('ok'), delayMs: 100 }))
    const batches = batchesOf(stage)
    const lines = inputLines(120, 'line', (name) => inputLine(name, { user_config: config(own.url) }))
    const { id } = await batches.start(lines)
    for (const calls of [30, 80]) {
      await eventually('some calls are made', () => own.ledger.length >= calls)
      await redis.kill()
      await redis.restart()
    }
    const batch = await batches.ended(id)
    expect(batch).toMatchObject({ status: 'completed', request_counts: { total: 120, completed: 120 } })
    const { output } = await batches.results(batch)
    expect(countOf(customIds(output)).size).toBe(120)
    expect(sorted(own.ledger.map(lineOf))).toEqual(sorted(lines.map((line) => line.custom_id)))
  },
)
