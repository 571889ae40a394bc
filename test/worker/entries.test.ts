import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { createJobQueue } from '../../shared/jobs/queues.ts'
import { createLog } from '../../shared/log.ts'
import { createEntries } from '../../worker/entries.ts'
import type { RunOutcome } from '../../worker/run-record.ts'
import { createSlots } from '../../worker/slots.ts'
import { startJobsWorker } from '../../worker/workers.ts'
import { eventually, gate } from '../support/eventually.ts'
import { testRedis } from '../support/redis.ts'
import { createKeys } from '../../shared/keys.ts'

const log = createLog('silent', 'test')
const done: RunOutcome = { kind: 'settled', status: 'completed' }

/** A worker's slots and runs, which last until `end` is opened. */
function takers(slotCount: number) {
  const slots = createSlots(slotCount)
  const end = gate()
  const running: string[] = []
  const entries = createEntries({
    slots,
    log,
    async run({ id }, onClaimed) {
      if (id.startsWith('away')) throw new Error('Redis is away')
      running.push(id)
      onClaimed()
      await end.opened
      if (id.startsWith('broken')) throw new Error('a fault of ours')
      return done
    },
  })
  return { slots, entries, running, end: end.open }
}

describe('an entry', () => {
  test('has done its duty when its jobs are claimed, and their slots are held until they end', async () => {
    const { entries, slots, running, end } = takers(10)
    expect(await entries.take({ jobs: [['a', 1], ['b', 3], ['broken', 1]] })).toBe(true) // oxfmt-ignore
    expect(running).toEqual(['a', 'b', 'broken'])
    expect(slots.use().jobs).toBe(3)
    end()
    await eventually('all slots are free', () => slots.use().jobs === 0)
  })

  test('with a job that finds no slot is another worker’s; the ones that did are in hand', async () => {
    const { entries, slots, running, end } = takers(1)
    expect(await entries.take({ jobs: [['a', 1], ['b', 1]] })).toBe(false) // oxfmt-ignore
    expect(running).toEqual(['a'])
    end()
    await eventually('the slot is free', () => slots.use().jobs === 0)
  })

  test('with a job that could not be claimed has failed, and holds no slot', async () => {
    const { entries, slots, end } = takers(10)
    await expect(entries.take({ jobs: [['a', 1], ['away', 1]] })).rejects.toThrow('away') // oxfmt-ignore
    end()
    await eventually('all slots are free', () => slots.use().jobs === 0)
  })
})

describe('a worker of jobs', () => {
  let own: ReturnType<typeof testRedis>
  beforeEach(() => {
    own = testRedis()
  })
  afterEach(() => own.cleanup())

  test('leaves to others what it has no slot for, and fetches again when it has', async () => {
    const keys = createKeys(own.prefix)
    const blocking = own.redis.duplicate({ maxRetriesPerRequest: null })
    const queue = createJobQueue(own.redis, keys)
    const deps = { redis: blocking, keys, log, concurrency: 4, lockMs: 10_000, stalledCheckMs: 5_000 }
    const add = async (...ids: string[]) => {
      for (const id of ids) await queue.add([{ id, generation: 1 }])
    }
    const [full, free] = [takers(2), takers(2)]
    const workers = [startJobsWorker(full.entries.take, full.slots.onRoom, deps)]
    await add('a', 'b')
    await eventually('it is full', () => full.running.length === 2)
    await add('c', 'd')
    await eventually('it fetches no more', () => workers[0]?.isPaused() === true)
    workers.push(startJobsWorker(free.entries.take, free.slots.onRoom, deps))
    await eventually('the other takes them', () => free.running.length === 2)
    expect(full.running).toHaveLength(2)
    expect(free.running.toSorted()).toEqual(['c', 'd'])
    full.end()
    await add('e')
    await eventually('it takes the next', () => full.running.includes('e'))
    free.end()
    await Promise.all(workers.map((worker) => worker.close()))
    await queue.close()
    blocking.disconnect()
  })
})
