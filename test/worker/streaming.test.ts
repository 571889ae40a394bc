import { afterAll, expect, test } from 'vitest'
import { testStore } from '../support/store.ts'
import type { Hold } from '../../worker/running.ts'
import { createStreaming } from '../../worker/streaming.ts'

const A_MINUTE_MS = 60_000

const store = testStore()
afterAll(() => store.cleanup())

/** A claimed job that streams, in a process whose other streams have taken all turns of the next minute. */
async function open(tenant: string) {
  const input = store.jobInput({ tenant })
  const created = await store.jobs.create({ ...input, body: { ...input.body, stream: true } })
  const fed = store.queued.findLast(({ id }) => id === input.id)
  const got = fed && (await store.claims.claim(fed))
  if (created.kind !== 'created' || got?.kind !== 'claimed') throw new Error('the job was not claimed')
  const hold: Hold = { signal: new AbortController().signal, reason: () => null, leave: () => {} }
  const { streamOf } = store
  const streaming = createStreaming({
    streamOf,
    lose: () => {},
    resultRetentionMs: 0,
    nextTurn: () => A_MINUTE_MS,
  })
  const run = streaming.open(got.claim, hold)
  if (!run) throw new Error('it does not stream')
  const told = async () =>
    (await streamOf(input.tenant, input.id).readAll()).map(({ bytes }) => bytes.toString())
  return { run, told }
}

test('the first piece and the end of a stream wait for no turn; what comes between goes together', async () => {
  const { run, told } = await open('one')
  for (const piece of ['a', 'b', 'c']) run.write(Buffer.from(piece))
  run.write(Buffer.from('d'))
  expect(await run.finish()).toBe(2)
  expect(await told()).toEqual(['a', 'bcd'])
})

test('nor does what an answer that broke off has left', async () => {
  const { run, told } = await open('two')
  run.write(Buffer.from('a'))
  run.write(Buffer.from('b'))
  await run.flushed()
  expect(await told()).toEqual(['a', 'b'])
})
