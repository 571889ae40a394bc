import { afterEach, beforeEach, expect, test } from 'vitest'
import { atUrl, fakeReceiver, numbered, type Sent } from '../support/deliveries.ts'
import { eventually, gate } from '../support/eventually.ts'
import { testStore, type TestStore } from '../support/store.ts'
import { testWebhooks } from '../support/webhooks.ts'

const URL = 'https://one.example/'
/** So many come in this time at most when the rate has risen; at the first rate they would take 20 seconds. */
const RISEN = 200

let store: TestStore
const closing: { close: () => Promise<void> }[] = []
beforeEach(() => {
  store = testStore()
  closing.push({ close: () => store.cleanup() })
})
afterEach(async () => {
  for (const opened of closing.splice(0).toReversed()) await opened.close()
})

/** Deliveries to one URL, with a worker. */
function running(
  receiver: ReturnType<typeof fakeReceiver>,
  options: Parameters<typeof testWebhooks>[1] = {},
  workers = 1,
) {
  const webhooks = testWebhooks(store, { post: receiver.post, ...options })
  closing.push(webhooks)
  for (let count = 0; count < workers; count += 1) closing.push(webhooks.startWorker())
  return { webhooks, many: numbered(store, webhooks, () => atUrl(URL)) }
}

const target = async () => (await store.redis.zrange(store.keys.targetsDue, '0', '-1'))[0] ?? ''
const closedUntil = async () =>
  Number(await store.redis.hget(store.keys.target(await target()), 'closed_until'))

test('ten deliveries at most are on their way to a target at once, over all workers, and all of them arrive', async () => {
  const held = gate()
  const receiver = fakeReceiver(async () => {
    await held.opened
    return { status: 200 }
  })
  const { many } = running(receiver, { slots: 100 }, 2)
  await many.make(60)
  await eventually('there are ten', () => receiver.sent.length === 10)
  held.open()
  await eventually('all came', () => new Set(receiver.sent.map(({ number }) => number)).size === 60)
  expect(receiver.sent).toHaveLength(60)
  expect(receiver.mostAtOnce.get(URL)).toBe(10)
})

test('a target that fails five times in a row is left alone, then gets one delivery as a probe, each time later', async () => {
  const receiver = fakeReceiver(() => ({ status: 500 }))
  const { many } = running(receiver, { scheduleSeconds: [0, 100], breakerMs: 300 })
  await many.make(40)
  await eventually('it is closed', async () => (await closedUntil()) > 0)
  await eventually('it was probed twice', async () => {
    const closings = await store.redis.hget(store.keys.target(await target()), 'closings')
    return Number(closings) >= 3
  })
  // Those that were on their way when it closed, and a probe for each time that it closed again; one more may be under way.
  const sent = [...receiver.sent]
  const closings = Number(await store.redis.hget(store.keys.target(await target()), 'closings'))
  expect(sent.length).toBeGreaterThanOrEqual(5 + 2)
  expect(sent.length).toBeLessThanOrEqual(10 + closings)
  const [first, second] = sent.slice(-2) as [Sent, Sent]
  expect(second.at - first.at).toBeGreaterThan(550)
})

test('a probe that is accepted opens the target, and what waited goes out, each once', async () => {
  let isDown = true
  const receiver = fakeReceiver(() => ({ status: isDown ? 500 : 200 }))
  const { many } = running(receiver, { scheduleSeconds: [0, 100], breakerMs: 50, rampMs: 50 })
  await many.make(60)
  await eventually('it is closed', async () => (await closedUntil()) > 0)
  isDown = false
  const before = receiver.sent.length
  await eventually('all others came', () => receiver.sent.length === 60)
  expect(new Set(receiver.sent.slice(before).map(({ number }) => number)).size).toBe(60 - before)
})

test('Retry-After of one answer keeps all other deliveries from that target, for as long', async () => {
  let isBusy = true
  const receiver = fakeReceiver(() =>
    isBusy ? { status: 429, headers: { 'retry-after': '1' } } : { status: 200 },
  )
  const { many } = running(receiver, { scheduleSeconds: [0, 0.01] })
  await many.make(1)
  await eventually('it was told to wait', async () => {
    return (await store.redis.hget(store.keys.target(await target()), 'rests_until')) !== null
  })
  isBusy = false
  await many.make(20)
  await eventually('all came', () => receiver.sent.length === 22)
  expect((receiver.sent[1]?.at ?? 0) - (receiver.sent[0]?.at ?? 0)).toBeGreaterThan(900)
})

test('10,000 deliveries after an outage: the rate starts low and doubles, ten at once, oldest first, and nobody else waits', async () => {
  const rampMs = 400
  let isDown = true
  const receiver = fakeReceiver((sent) => ({ status: isDown && sent.url === URL ? 503 : 200 }))
  const { webhooks, many } = running(receiver, { scheduleSeconds: [0, 1_000], breakerMs: 200, rampMs })
  const others = numbered(store, webhooks, (number) => atUrl(`https://other.example/${number % 5}`), {
    tenant: 'other',
  })
  await many.make(10_000)
  await eventually('it is closed', async () => (await closedUntil()) > 0)
  isDown = false
  const failed = receiver.sent.length
  const { at: backAt } = await eventually('the probe came', () => receiver.sent[failed])

  const waitsMs: number[] = []
  const feedsMs: number[] = []
  const sentBack = () => receiver.sent.slice(failed).filter(({ url }) => url === URL)
  while (sentBack().length < RISEN) {
    const madeAt = performance.now()
    await others.make(1)
    feedsMs.push(await timed(() => webhooks.deliveries.feedDue()))
    const number = waitsMs.length
    const came = await eventually('it came', () =>
      receiver.sent.find((sent) => sent.url !== URL && sent.number === number),
    )
    waitsMs.push(came.at - madeAt)
  }

  const sent = sentBack()
  const within = (from: number, to: number) =>
    sent.filter(({ at }) => at >= backAt + from * rampMs - 5 && at < backAt + to * rampMs - 5).length
  // 10 a second for the first 400 ms, then twice as many each 400 ms; a few more are made up for after a late look.
  expect(within(0, 1)).toBeLessThanOrEqual(4 + 6)
  expect(within(0, 3)).toBeLessThanOrEqual(4 + 8 + 16 + 16)
  expect(sent.length).toBeGreaterThanOrEqual(RISEN)
  expect(receiver.mostAtOnce.get(URL)).toBeLessThanOrEqual(10)
  const order = sent.map(({ number }) => number)
  expect(order.every((number, at) => Math.abs(number - failed - at) <= 120)).toBe(true)
  // Behind ten thousand others it were minutes.
  expect(median(waitsMs)).toBeLessThan(3_000)
  expect(median(feedsMs)).toBeLessThan(1_000)
})

async function timed(run: () => Promise<unknown>): Promise<number> {
  const startedAt = performance.now()
  await run()
  return performance.now() - startedAt
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0
}
