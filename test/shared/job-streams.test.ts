import { randomBytes } from 'node:crypto'
import { Redis } from 'ioredis'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createJobStreams } from '../../shared/jobs/job-streams.ts'
import { createKeys } from '../../shared/keys.ts'
import { createSealer } from '../../shared/seal.ts'
import { createStreamListener, type StreamTail } from '../../shared/jobs/stream-listener.ts'
import { eventually } from '../support/eventually.ts'
import { testRedis } from '../support/redis.ts'

const own = testRedis()
const redis = new Redis(own.url)
const subscriber = new Redis(own.url)
const keys = createKeys(own.prefix)
const sealer = createSealer([{ id: 'k', key: randomBytes(32) }])
const streamOf = createJobStreams({ redis, keys, sealer })
const listener = createStreamListener(subscriber, streamOf, keys)
let count = 0

beforeAll(() => redis.ping())
afterAll(async () => {
  redis.disconnect()
  subscriber.disconnect()
  await own.cleanup()
})

/** A job's stream whose claim is held by `token`. */
async function begin(token = 'mine') {
  const id = `job_${(count += 1)}`
  await redis.hset(keys.job(id), 'token', token)
  const stream = streamOf('tenant', id)
  const tell = (number: number, text: string, by = 'mine') =>
    stream.append(by, { number, bytes: Buffer.from(text) }, 60_000)
  return { id, stream, tell }
}

const subscribed = (id: string) =>
  eventually('it listens', async () => {
    const [, listeners] = (await redis.pubsub('NUMSUB', keys.streamChannel(id))) as [string, number]
    return listeners > 0
  })

/** Reads until so many bytes have come. */
async function readText(tail: StreamTail, bytes: number): Promise<string> {
  let text = ''
  for (let isFirst = true; text.length < bytes; isFirst = false) {
    if (!isFirst && !(await tail.wait(2_000)))
      throw new Error(`Only ${text.length} bytes came: ${text.slice(-40)}`)
    for (const piece of await tail.take()) text += piece.bytes.toString()
  }
  return text
}

test('a piece appended twice is there once, and its number keeps its place', async () => {
  const { stream, tell } = await begin()
  expect([await tell(1, 'a'), await tell(1, 'a'), await tell(2, 'b'), await tell(1, 'x')]).toEqual(
    Array.from({ length: 4 }, () => 'appended'),
  )
  const pieces = await stream.readAll()
  expect(pieces.map(({ number, bytes }) => [number, bytes.toString()])).toEqual([
    [1, 'a'],
    [2, 'b'],
  ])
  expect((await stream.read(1)).map(({ number }) => number)).toEqual([2])
})

test('a claim that was replaced appends nothing', async () => {
  const { stream, tell } = await begin('newer')
  expect(await tell(1, 'old', 'mine')).toBe('fenced')
  expect(await stream.readAll()).toEqual([])
})

test('what lies in Redis is sealed, for its job and place, and goes by itself', async () => {
  const { id, tell } = await begin()
  await tell(1, 'a canary in plain words')
  const dump = (await redis.callBuffer('XRANGE', keys.stream(id), '-', '+')) as [Buffer, [Buffer, Buffer]][]
  const sealed = dump[0]?.[1][1] ?? Buffer.alloc(0)
  expect(sealed.toString('latin1')).not.toContain('canary')
  expect(() => streamOf('tenant', id).open(2, sealed)).toThrow(/does not open/)
  expect(() => streamOf('other', id).open(1, sealed)).toThrow(/does not open/)
  expect(await redis.pttl(keys.stream(id))).toBeGreaterThan(50_000)
})

test('a reader has what was told before it came, and what is told after', async () => {
  const { id, tell } = await begin()
  await tell(1, 'before ')
  const tail = listener.open('tenant', id)
  expect(await readText(tail, 7)).toBe('before ')
  await subscribed(id)
  await tell(2, 'after')
  expect(await readText(tail, 5)).toBe('after')
  tail.close()
})

test('a reader that begins in the middle has the rest', async () => {
  const { id, tell } = await begin()
  for (const [at, text] of ['a', 'b', 'c'].entries()) await tell(at + 1, text)
  const tail = listener.open('tenant', id, 2)
  expect((await tail.take()).map(({ number }) => number)).toEqual([3])
  tail.close()
})

test('messages that were lost are a gap, which is read', async () => {
  const { id, stream, tell } = await begin()
  const tail = listener.open('tenant', id)
  await tail.take()
  await subscribed(id)
  await tell(1, 'a')
  await eventually('it was heard', () => tail.wait(100))
  // As if it had been published to a connection that was down.
  const place = { tenant: 'tenant', kind: 'job', id } as const
  const sealed = sealer.record(place).seal('stream:2', 'b')
  await redis.xadd(keys.stream(id), '2-1', 'd', sealed)
  await tell(3, 'c')
  expect(await readText(tail, 3)).toBe('abc')
  expect(await stream.readAll()).toHaveLength(3)
  tail.close()
})

test('what does not open is told to the reader, and ends no process', async () => {
  const { id, tell } = await begin()
  const tail = listener.open('tenant', id)
  await tail.take()
  await subscribed(id)
  await tell(1, 'a')
  await redis.publish(keys.streamChannel(id), '2 sealed with a key of another installation')
  await redis.xadd(keys.stream(id), '2-1', 'd', 'sealed with a key of another installation')
  expect(await readText(tail, 1)).toBe('a')
  await eventually('it was heard', () => tail.wait(100))
  await expect(tail.take()).rejects.toThrow(/damaged|not configured/)
  tail.close()
})

test('a stream that Redis lost the beginning of ends like every other, and its job knows of it', async () => {
  const { id, tell } = await begin()
  await tell(2, 'b')
  expect(await redis.pttl(keys.stream(id))).toBeGreaterThan(50_000)
  expect(await redis.hget(keys.job(id), 'streamed')).toBe('1')
})

test('a reader that is slow has all of it in the end, and keeps no more than a little meanwhile', async () => {
  const { id, tell } = await begin()
  const slow = listener.open('tenant', id)
  const quick = listener.open('tenant', id)
  await slow.take()
  await subscribed(id)
  for (let number = 1; number <= 200; number += 1) await tell(number, block(number))
  const expected = Array.from({ length: 200 }, (_, at) => block(at + 1)).join('')
  // 200 pieces of 8 kB were told; not more than 256 kB and one piece were kept for whoever did not ask.
  expect((await slow.take()).length).toBeLessThanOrEqual(33)
  expect((await readText(slow, expected.length - 33 * 8_192)).endsWith(block(200))).toBe(true)
  expect(await readText(quick, expected.length)).toBe(expected)
  slow.close()
  quick.close()
})

test('when nobody reads any more, nobody listens', async () => {
  const { id } = await begin()
  const tail = listener.open('tenant', id)
  await subscribed(id)
  tail.close()
  await eventually('it left', async () => {
    const [, listeners] = (await redis.pubsub('NUMSUB', keys.streamChannel(id))) as [string, number]
    return listeners === 0
  })
})

/** Eight kilobytes that say which they are. */
function block(number: number): string {
  return `${number}`.padEnd(8_192, '.')
}
