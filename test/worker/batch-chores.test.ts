import { afterEach, beforeEach, expect, test } from 'vitest'
import type { FileStore } from '../../shared/files/file-store.ts'
import { createLog } from '../../shared/log.ts'
import { createBatchChores } from '../../worker/batch-chores.ts'
import { testBatchStore, type TestBatchStore } from '../support/batch-store.ts'
import { eventually } from '../support/eventually.ts'

let store: TestBatchStore
beforeEach(async () => {
  store = await testBatchStore()
})
afterEach(() => store.cleanup())

const never = () => new Promise<void>(() => {})

/** The sweeper's rounds, as long as they wait for what they do, over a store that removes like this. */
function sweeper(remove: FileStore['remove'], expireFiles = async () => {}) {
  const { seldom } = createBatchChores({
    ...store,
    queue: store.batchQueue,
    store: { ...store.fileStore, remove },
    expireFiles,
    feed: async () => {},
    log: createLog('silent', 'test'),
  })
  return async () => {
    const rounds = await Promise.allSettled(seldom.map((chore) => chore()))
    return rounds.flatMap((round) => (round.status === 'rejected' ? [round.reason as unknown] : []))
  }
}

/** A batch that has ended and is to be forgotten, and one whose deadline is over. */
async function twoDue(): Promise<{ ended: string; late: string }> {
  const ended = await store.create()
  await store.ends.refuse(await store.claim(store.take(ended, 'v')), [])
  await store.redis.hset(store.keys.batch(ended), 'expires', '1')
  const late = await store.begin(1)
  await store.redis.zadd(store.keys.batchDue, '1', ended, '2', late)
  return { ended, late }
}

test('a store that does not answer holds up neither the sweeper nor the deadline of another batch', async () => {
  const { late } = await twoDue()
  const sweep = sweeper(never, never)
  await sweep()
  expect(await store.batches.read('acme', late)).toMatchObject({ status: 'finalizing' })
  expect(await sweep()).toEqual([])
})

test('a batch whose bytes can not be removed is not forgotten, is out of the way, and comes again', async () => {
  const { ended } = await twoDue()
  let refusals = 1
  const sweep = sweeper(async () => {
    if (refusals-- > 0) throw new Error('Access denied.')
  })
  await sweep()
  expect((await store.window.due()).map(({ id }) => id)).not.toContain(ended)
  expect(await store.batches.read('acme', ended)).not.toBeNull()
  await store.redis.zadd(store.keys.batchDue, '1', ended)
  await sweep()
  await eventually('it is forgotten', async () => (await store.batches.read('acme', ended)) === null)
  expect(await store.redis.zscore(store.keys.batchDue, ended)).toBeNull()
})

test('what went wrong beside the round is told with the next', async () => {
  const fault = new Error('no')
  const sweep = sweeper(
    async () => {},
    () => Promise.reject(fault),
  )
  expect(await sweep()).toEqual([])
  expect(await sweep()).toEqual([fault])
})
