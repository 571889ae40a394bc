import { describe, expect, test } from 'vitest'
import { BATCHES_QUEUE } from '../../shared/batches/batch-queue.ts'
import { openQueue } from '../../shared/jobs/queues.ts'
import { batchesOf, countOf, inputLine, inputLines, lineOf, type ResultLine } from '../support/batches.ts'
import { eventually, gate, moment } from '../support/eventually.ts'
import { completion, failure } from '../support/provider.ts'
import { ownConfig } from '../support/requests.ts'
import { freshKey, gateway, provider, useGateway } from '../support/stage.ts'
import { expectAfter, expectWithinLimit, startOf, startsOf } from '../support/windows.ts'

/** The "minute" of rpm in this file. */
const MINUTE_MS = 3000
/** Of each of the two workers. */
const SLOTS = 50

useGateway({
  workers: 2,
  env: {
    WORKER_CONCURRENCY: String(SLOTS),
    GATEWAY_LIMIT_WINDOW_MS: String(MINUTE_MS),
    GATEWAY_RETRY_INITIAL_MS: '20',
  },
})

const batches = () => batchesOf(gateway)
const config = (settings: Record<string, unknown> = {}, params: Record<string, unknown> = {}) =>
  ownConfig({ url: provider.url, key: freshKey(), ...params }, settings)
const names = (results: readonly ResultLine[]) => results.map((result) => result.custom_id).toSorted()
const namesOf = (count: number) =>
  inputLines(count)
    .map((line) => line.custom_id)
    .toSorted()
const callsOf = (key: string) => provider.ledger.filter((entry) => entry.key === key)

const isOfSlow = (line: number) => line % 2 === 0
const isBad = (name: string) => /[49]$/.test(name)

describe('a line that has to wait', () => {
  test('rpm of a key holds over workers and batches: no minute sees more calls', async () => {
    const rpm = 6
    const key = freshKey('limited')
    const user_config = ownConfig({ url: provider.url, key, rpm })
    const started = await Promise.all(
      ['one', 'two'].map((prefix) => batches().start(inputLines(9, prefix), { user_config })),
    )
    for (const { id } of started) {
      expect(await batches().ended(id)).toMatchObject({
        status: 'completed',
        request_counts: { completed: 9 },
      })
    }
    const lines = (await Promise.all(started.map(({ id }) => batches().lines(id)))).flat()
    expect(callsOf(key)).toHaveLength(18)
    expect(startsOf(lines)).toHaveLength(18)
    expectWithinLimit(startsOf(lines), rpm, MINUTE_MS)
  })

  test('while a deployment cools down its lines wait, and nothing calls it but one that tries', async () => {
    provider.answer(() => failure(500, 'down'))
    const settings = { allowed_fails: 0, cooldown_time: 2, num_retries: 20 }
    const { id } = await batches().start(inputLines(40), { user_config: config(settings) })
    await batches().when('waits', id, ({ progress }) => progress.parked === 40)
    const failed = provider.ledger.length
    // All that were in flight when the first failed.
    expect(failed).toBeLessThanOrEqual(40)
    const probe = gate()
    provider.answer(({ number }) => {
      if (number === failed + 1) return { ...failure(500, 'still down'), until: probe.opened }
      return completion('back')
    })
    await eventually('it is tried again', () => provider.ledger.length > failed)
    await moment()
    expect(provider.ledger).toHaveLength(failed + 1)
    probe.open()
    const batch = await batches().ended(id)
    expect(batch).toMatchObject({ status: 'completed', request_counts: { completed: 40, failed: 0 } })
    expect(names((await batches().results(batch)).output)).toEqual(namesOf(40))
  })

  test('a key that answers 429 is left alone until its Retry-After is over, and holds no other key back', async () => {
    const [slow, quick] = [freshKey('slow'), freshKey('quick')]
    const pauseS = 8
    let firstAt: number | null = null
    provider.answer(({ key, startedAt }) => {
      if (key === quick) return completion('ok')
      firstAt ??= startedAt
      // Who was in flight at the first 429 comes well before the pause is over, all others after it.
      return startedAt - firstAt > pauseS * 500
        ? completion('ok')
        : failure(429, 'rate_limit_exceeded', { 'retry-after': String(pauseS) })
    })
    const input = Array.from({ length: 120 }, (_, number) => {
      const key = isOfSlow(number) ? slow : quick
      return inputLine(`line-${number}`, {
        user_config: ownConfig({ url: provider.url, key }, { num_retries: 0 }),
      })
    })
    const { id } = await batches().start(input)
    const batch = await batches().ended(id)
    expect(batch).toMatchObject({ status: 'completed', request_counts: { completed: 120, failed: 0 } })
    expect(callsOf(quick)).toHaveLength(60)
    const lines = await batches().lines(id)
    const ofSlow = lines.filter(({ custom_id: name }) => isOfSlow(Number(name.slice('line-'.length))))
    const refused = ofSlow.filter(({ attempts }) => attempts.length > 1)
    // Those that were in flight when the first 429 came have one, too; nobody else asked for one.
    expect(refused.length).toBeLessThanOrEqual(SLOTS)
    expect(callsOf(slow)).toHaveLength(60 + refused.length)
    const pausedAt = Math.min(...refused.map((line) => startOf(line)))
    for (const line of ofSlow) expectAfter(startOf(line, line.attempts.length), pausedAt, pauseS * 1000)
    const ofQuick = lines.filter((line) => !ofSlow.includes(line))
    expect(startsOf(ofQuick).at(-1)).toBeLessThan(pausedAt + pauseS * 1000)
  })
})

describe('a batch that does not run to its end', () => {
  test('cancel lets calls in flight finish and starts none: what was done is kept, all else is batch_cancelled', async () => {
    const held = gate()
    provider.answer(({ number }) => ({ ...completion('ok'), ...(number > 60 ? { until: held.opened } : {}) }))
    const { id } = await batches().start(inputLines(300), { user_config: config() })
    await batches().when('has done some', id, ({ progress }) => progress.completed === 60)
    await eventually('some are in flight', () => provider.open() > 10)
    expect((await batches().cancel(id)).status).toBe('cancelling')
    held.open()
    const batch = await batches().ended(id)
    // Whatever had a slot when it was cancelled, and no more.
    const called = provider.ledger.length
    expect(called).toBeLessThanOrEqual(60 + 2 * SLOTS)
    expect(batch).toMatchObject({
      status: 'cancelled',
      request_counts: { total: 300, completed: called },
      progress: { completed: called, cancelled: 300 - called, failed: 0, queued: 0, in_progress: 0 },
    })
    const { output, error } = await batches().results(batch)
    expect(names(output)).toEqual(provider.ledger.map(lineOf).toSorted())
    expect(names([...output, ...error])).toEqual(namesOf(300))
    for (const line of error)
      expect(line).toMatchObject({ response: null, error: { code: 'batch_cancelled' } })
    await expect(batches().cancel(id)).rejects.toMatchObject({ status: 400 })
  })

  test('at its deadline calls in flight are given up, and what has no result is batch_expired', async () => {
    provider.answer((entry) => (entry.number <= 20 ? completion('ok') : { kind: 'hang' }))
    // The shortest time that a client can give is five minutes: before anybody has taken it, it is given less.
    const queue = openQueue(BATCHES_QUEUE, gateway.redis, gateway.keys)
    await queue.pause()
    const { id } = await batches().start(inputLines(200), { user_config: config() })
    const deadline = Date.now() + 10_000
    await gateway.redis.hset(gateway.keys.batch(id), 'deadline', deadline)
    await gateway.redis.zadd(gateway.keys.batchDue, deadline, id)
    await queue.resume()
    await queue.close()
    await eventually('some calls hang', () => provider.open() > 10)
    const batch = await batches().ended(id)
    expect(Date.now()).toBeGreaterThan(deadline)
    expect(batch).toMatchObject({
      status: 'expired',
      request_counts: { total: 200, completed: 20 },
      progress: { completed: 20, expired: 180, failed: 0, queued: 0, in_progress: 0 },
    })
    expect(provider.open()).toBe(0)
    const { output, error } = await batches().results(batch)
    expect(names(output)).toEqual(provider.ledger.slice(0, 20).map(lineOf).toSorted())
    expect(names([...output, ...error])).toEqual(namesOf(200))
    for (const line of error) expect(line).toMatchObject({ response: null, error: { code: 'batch_expired' } })
    // What was called and had no answer may be on the bill: its attempt says so.
    const given = (await batches().lines(id)).filter(
      ({ status, attempts }) => status === 'expired' && attempts.length > 0,
    )
    expect(given).toHaveLength(provider.ledger.length - 20)
    for (const { attempts } of given)
      expect(attempts).toMatchObject([{ outcome: 'aborted', possibly_billed: true }])
  })

  test('after more failures than max_errors nothing new is started, and the batch has failed', async () => {
    provider.answer(() => ({ ...failure(400, 'bad_line'), delayMs: 20 }))
    const { id } = await batches().start(inputLines(300), {
      user_config: config(),
      max_errors: 5,
      concurrency: 4,
    })
    const batch = await batches().ended(id)
    expect(batch).toMatchObject({ status: 'failed', errors: { data: [{ code: 'max_errors_exceeded' }] } })
    const { completed, failed, cancelled } = batch.progress
    expect(completed).toBe(0)
    // Those that were in flight beside the one too many.
    expect(failed).toBeGreaterThan(5)
    expect(failed).toBeLessThanOrEqual(5 + 4)
    expect(failed + cancelled).toBe(300)
    expect(provider.ledger).toHaveLength(failed)
    const { error } = await batches().results(batch)
    const codes = countOf(error.map((line) => line.error?.code ?? String(line.response?.status_code)))
    expect(codes).toEqual(
      new Map([
        ['400', failed],
        ['batch_cancelled', 300 - failed],
      ]),
    )
  })
})

describe('a retry', () => {
  test('runs the failed lines only, each with the fresh credentials that it is given', async () => {
    const { id } = await halfDone()
    const bad = namesOf(20).filter(isBad)
    const keys = new Map(bad.map((name) => [name, freshKey('fresh')]))
    const credentials = Object.fromEntries(
      [...keys].map(([name, key]) => [name, { user_config: ownConfig({ url: provider.url, key }) }]),
    )
    const answer = await batches().retry(id, { credentials })
    expect(answer.status, answer.text).toBe(200)
    const { id: again } = answer.json as { id: string }
    const batch = await batches().ended(again)
    expect(batch).toMatchObject({
      status: 'completed',
      retry_of: id,
      request_counts: { total: 4, completed: 4 },
    })
    expect(names((await batches().results(batch)).output)).toEqual(bad)
    expect(provider.ledger).toHaveLength(4)
    for (const entry of provider.ledger) expect(entry.key).toBe(keys.get(lineOf(entry)))
  })

  test('without credentials where some were erased is a 400, and runs nothing', async () => {
    const { id } = await halfDone()
    const answer = await batches().retry(id)
    expect(answer).toMatchObject({ status: 400, json: { error: { code: 'credentials_required' } } })
    expect(answer.text).toContain('credentials')
    expect(provider.ledger).toEqual([])
  })
})

/** A batch of 20 lines, of which 4 have failed; each had a key of its own. */
async function halfDone() {
  provider.answer((entry) => (isBad(lineOf(entry)) ? failure(400, 'bad_line') : completion('ok')))
  const lines = inputLines(20, 'line', (name) => inputLine(name, { user_config: config({ num_retries: 0 }) }))
  const { id } = await batches().start(lines)
  const batch = await batches().ended(id)
  expect(batch).toMatchObject({ status: 'completed', request_counts: { completed: 16, failed: 4 } })
  provider.ledger.length = 0
  provider.answer(() => completion('this time'))
  return batch
}
