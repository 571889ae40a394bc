import { expect, test } from 'vitest'
import { createTurns } from '../../worker/turns.ts'

test('turns lie as far apart as their number a second says, and none is saved up', () => {
  let nowMs = 1_000
  const next = createTurns(100, () => nowMs)
  expect([next(), next(), next()]).toEqual([0, 10, 20])
  nowMs += 25
  expect(next()).toBe(5)
  nowMs += 60_000
  expect([next(), next()]).toEqual([0, 10])
})
