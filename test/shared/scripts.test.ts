import { afterAll, describe, expect, test } from 'vitest'
import { createGatheredScript, createScript, togetherOf } from '../../shared/scripts.ts'
import { testStore } from '../support/store.ts'

const store = testStore()
const { redis, keys } = store
afterAll(() => store.cleanup())

describe('a script that is run for each job', () => {
  const start = createGatheredScript(redis, 'start-attempt')
  const begin = (id: string, token: string) =>
    redis.hset(keys.job(id), { status: 'in_progress', token, attempts: 0 })

  test('is one script for the calls of one turn, and each has its own reply', async () => {
    await Promise.all([begin('one', 'a'), begin('two', 'b')])
    const replies = await Promise.all([
      start([keys.job('one')], ['a', 'attempts', 1]),
      start([keys.job('gone')], ['a', 'attempts', 2]),
      start([keys.job('two')], ['b', 'attempts', 3, 'log', 'three']),
    ])
    expect(replies.map(String)).toEqual(['started', 'fenced', 'started'])
    expect(await redis.hmget(keys.job('one'), 'attempts', 'log')).toEqual(['1', null])
    expect(await redis.hmget(keys.job('two'), 'attempts', 'log')).toEqual(['3', 'three'])
    expect(await redis.exists(keys.job('gone'))).toBe(0)
  })

  test('fails for the call that it fails for, and for no other', async () => {
    await Promise.all([begin('good', 'a'), redis.set(keys.job('no-hash'), 'text'), begin('fine', 'b')])
    const [good, bad, fine] = await Promise.allSettled([
      start([keys.job('good')], ['a', 'attempts', 1]),
      start([keys.job('no-hash')], ['a', 'attempts', 1]),
      start([keys.job('fine')], ['b', 'attempts', 1]),
    ])
    expect([good.status, fine.status]).toEqual(['fulfilled', 'fulfilled'])
    expect(bad.status === 'rejected' && String(bad.reason)).toContain('WRONGTYPE')
    expect(await redis.hget(keys.job('fine'), 'attempts')).toBe('1')
  })

  test('of more calls than one script takes none is lost or mixed up', async () => {
    const ids = Array.from({ length: 100 }, (_, index) => `many-${index}`)
    await Promise.all(ids.map((id) => begin(id, id)))
    const replies = await Promise.all(
      ids.map((id, index) => start([keys.job(id)], [index % 3 === 0 ? 'other' : id, 'attempts', index])),
    )
    expect(replies.map(String)).toEqual(ids.map((_, index) => (index % 3 === 0 ? 'fenced' : 'started')))
    const noted = await Promise.all(ids.map((id) => redis.hget(keys.job(id), 'attempts')))
    expect(noted).toEqual(ids.map((_, index) => String(index % 3 === 0 ? 0 : index)))
  })
})

test('a script that names no key is refused: a cluster would not know whom to ask', async () => {
  await expect(createScript(redis, 'start-attempt')([], ['a'])).rejects.toThrow('needs a key')
})

const calls = (count: number, bytes: number) =>
  Array.from({ length: count }, () => ({ keys: ['key'], args: ['x'.repeat(bytes), 1] }))

test('large calls do not go together, one that is larger than all goes alone', () => {
  expect(togetherOf(calls(100, 1_000))).toBe(16)
  expect(togetherOf(calls(100, 1_000), 4)).toBe(4)
  expect(togetherOf(calls(3, 1_000))).toBe(3)
  expect(togetherOf(calls(16, 100_000))).toBe(2)
  expect(togetherOf([...calls(1, 1_000_000), ...calls(3, 10)])).toBe(1)
  expect(togetherOf([...calls(1, 10), ...calls(1, 1_000_000)])).toBe(1)
})
