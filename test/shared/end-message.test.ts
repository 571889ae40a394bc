import { afterAll, expect, test } from 'vitest'
import { ENDED_FIELDS } from '../../shared/jobs/job-record.ts'
import { createSettledListener } from '../../shared/jobs/settled.ts'
import { eventually } from '../support/eventually.ts'
import { testStore } from '../support/store.ts'

const store = testStore()
const subscriber = store.redis.duplicate()
const listener = createSettledListener(subscriber, store.keys, 'api-1')
const elsewhere = createSettledListener(subscriber, store.keys, 'api-2')
await Promise.all([listener.start(), elsewhere.start()])
afterAll(async () => {
  listener.close()
  elsewhere.close()
  subscriber.disconnect()
  await store.cleanup()
})

/** Runs a job whose line `replyTo` holds, up to an answer of so many bytes. */
async function run(replyTo: string | null, bytes: number) {
  const input = store.jobInput({ mode: 'sync', replyTo })
  const watches = [listener.watch(input.id), elsewhere.watch(input.id)] as const
  await store.jobs.create(input)
  const fed = store.queued.pop()
  const claimed = fed && (await store.claims.claim(fed))
  if (claimed?.kind !== 'claimed') throw new Error('not claimed')
  const { claim } = claimed
  const out = claim.sealed.seal('out', Buffer.alloc(bytes, 0xff))
  const ended = { out, statusCode: 200 }
  await store.settle.settle(claim.subject, 'complete', claim.token, 'completed', null, '', ended)
  await Promise.all(watches.map((watch) => watch.wait(10_000)))
  // Both messages of the end are there when a later one is.
  const last = listener.watch('later')
  await store.redis.publish(store.keys.settledChannel, 'later')
  await last.wait(10_000)
  for (const watch of [...watches, last]) watch.close()
  return { id: input.id, told: watches.map((watch) => watch.told?.() ?? null) }
}

test('who holds the line is told all that it would have read, and nobody else is', async () => {
  const { id, told } = await run('api-1', 1000)
  const [here, there] = told
  if (!here) throw new Error('not told')
  expect(there).toBeNull()
  const view = store.jobs.readTold('acme', id, here)
  const read = await store.jobs.read('acme', id)
  expect(view?.job).toEqual(read?.job)
  expect(view?.version).toBe(read?.version)
  expect(view?.result?.body).toEqual(Buffer.alloc(1000, 0xff))
  expect(store.jobs.readTold('other', id, here)).toBeNull()
})

test('a large answer is left to be read, and an end that nobody holds the line for is only named', async () => {
  expect((await run('api-1', 100_000)).told).toEqual([null, null])
  expect((await run(null, 10)).told).toEqual([null, null])
})

test('what a worker of another version says of a job, by other names, is read anew', async () => {
  const watch = listener.watch('job_1')
  const field = Buffer.from([0, 0, 0, 2, 'a'.charCodeAt(0)])
  const id = Buffer.concat([Buffer.from([0, 0, 0, 6]), Buffer.from('job_1')])
  const message = Buffer.concat([id, ...ENDED_FIELDS.map(() => field), field])
  await store.redis.publish(store.keys.replyChannel('api-1'), message)
  expect(await watch.wait(10_000)).toBe(true)
  expect(watch.told?.()).toBeNull()
  watch.close()
})

test('no name of a process is left in the record of an ended job', async () => {
  const { id } = await run('api-2', 10)
  await eventually('it has ended', async () => (await store.jobs.read('acme', id))?.isTerminal === true)
  expect(await store.redis.hget(store.keys.job(id), 'caller')).toBeNull()
})
