import { afterEach, beforeEach, expect, test } from 'vitest'
import { createReadiness, type NotReady, type Readiness } from '../../api/readiness.ts'
import { JOBS_QUEUE, openQueue } from '../../shared/jobs/queues.ts'
import { createWindow } from '../../shared/jobs/window.ts'
import { createKeys } from '../../shared/keys.ts'
import { createLog } from '../../shared/log.ts'
import { WEBHOOKS_QUEUE } from '../../shared/webhooks/delivery-queue.ts'
import { eventually } from '../support/eventually.ts'
import { testStore, type TestStore } from '../support/store.ts'

const STALL_MS = 400
const SILENCE_MS = 60_000

let store: TestStore
let readiness: Readiness
let queues: ReturnType<typeof openQueue>[]
beforeEach(() => {
  store = testStore()
  queues = []
  readiness = createReadiness({
    redis: store.redis,
    shards: [store.keys],
    stallMs: STALL_MS,
    deliveryMs: STALL_MS,
    log: createLog('silent', 'test'),
  })
  readiness.start()
})
afterEach(async () => {
  readiness.close()
  for (const queue of queues) await queue.close()
  await store.cleanup()
})

function queueOf(name: string, keys = store.keys) {
  const queue = openQueue<number>(name, store.redis, keys)
  queues.push(queue)
  return queue
}

const turnsTo = (reasons: NotReady[]) =>
  eventually(reasons.join() || 'ready', () => readiness.reasons().join() === reasons.join())

/** Looks on for several times as long as it would take to turn red. */
async function staysReady(): Promise<void> {
  const since = performance.now()
  await eventually('time passes', () => {
    expect(readiness.reasons()).toEqual([])
    return performance.now() - since > 3 * STALL_MS
  })
}

async function createJobs(count: number, change: Parameters<TestStore['jobInput']>[0] = {}): Promise<void> {
  for (let made = 0; made < count; made += 1) await store.jobs.create(store.jobInput(change))
}

test('without workers it is ready until something waits', async () => {
  await staysReady()
  await queueOf(JOBS_QUEUE).add('job', 1)
  await turnsTo(['no_workers'])
  await store.window.beat('worker', 10, SILENCE_MS)
  await turnsTo(['jobs_not_taken'])
})

test('an entry that stays where it is, though slots are free, is told of until it is taken', async () => {
  await store.window.beat('worker', 10, SILENCE_MS)
  const [jobs, webhooks] = [queueOf(JOBS_QUEUE), queueOf(WEBHOOKS_QUEUE)]
  const job = await jobs.add('job', 1)
  await turnsTo(['jobs_not_taken'])
  const delivery = await webhooks.add('delivery', 1)
  await turnsTo(['jobs_not_taken', 'webhooks_not_taken'])
  await job.remove()
  await turnsTo(['webhooks_not_taken'])
  await delivery.remove()
  await turnsTo([])
})

test('that some entries always wait is no reason, while the next one is always another', async () => {
  await store.window.beat('worker', 10, SILENCE_MS)
  const queue = queueOf(JOBS_QUEUE)
  await queue.addBulk(Array.from({ length: 50 }, (_, at) => ({ name: 'job', data: at })))
  const waiting = store.keys.queueWaiting(JOBS_QUEUE)
  const off = new AbortController()
  const taking = (async () => {
    while (!off.signal.aborted) await store.redis.lmove(waiting, waiting, 'RIGHT', 'LEFT')
  })()
  const since = performance.now()
  await eventually('some time passes', () => performance.now() - since > 2 * STALL_MS)
  expect(readiness.reasons()).toEqual([])
  off.abort()
  await taking
})

test('what waits because all slots are taken, or for its time, is no reason', async () => {
  await store.window.beat('worker', 2, SILENCE_MS)
  await createJobs(1, { tenant: 'a' })
  await createJobs(1, { tenant: 'b' })
  for (const fed of store.queued) expect((await store.claims.claim(fed)).kind).toBe('claimed')
  await queueOf(JOBS_QUEUE).add('job', 1)
  await createJobs(1, { tenant: 'c', delayMs: 60_000 })
  await staysReady()
})

test('what waits in one shard while jobs of another have all slots is no reason', async () => {
  const other = createKeys(store.keys.prefix, 's1')
  const shards = [store.keys, other]
  readiness.close()
  readiness = createReadiness({
    redis: store.redis,
    shards,
    stallMs: STALL_MS,
    deliveryMs: STALL_MS,
    log: createLog('silent', 'test'),
  })
  readiness.start()
  for (const keys of shards) await createWindow(store.redis, keys).beat('worker', 2, SILENCE_MS)
  for (const tenant of ['a', 'b']) await createJobs(1, { tenant })
  const claimed = await Promise.all(store.queued.map((fed) => store.claims.claim(fed)))
  await queueOf(JOBS_QUEUE, other).add('job', 1)
  await staysReady()
  const [first] = claimed
  if (first?.kind !== 'claimed') throw new Error('not claimed')
  const { subject, token } = first.claim
  await store.settle.settle(subject, 'claim', token, 'failed', null, '')
  await turnsTo(['jobs_not_taken'])
})

test('jobs in line that nobody lets in, or that nobody sees to, are told of', async () => {
  await store.window.beat('worker', 4, SILENCE_MS)
  await createJobs(8)
  await turnsTo(['no_sweeper'])
  await store.window.holdSweeper('worker', SILENCE_MS)
  // As many as it may have at once are let in.
  await turnsTo([])
  await staysReady()
  await store.window.beat('another', 40, SILENCE_MS)
  await turnsTo(['jobs_not_let_in'])
})
