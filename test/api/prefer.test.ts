import { expect, test } from 'vitest'
import { parsePrefer } from '../../api/prefer.ts'

test.for([
  ['respond-async', { respondAsync: true, waitSeconds: null }],
  ['respond-async, wait=10', { respondAsync: true, waitSeconds: 10 }],
  ['wait=10', { respondAsync: false, waitSeconds: 10 }],
  ['Respond-Async; foo="a,b", WAIT = "7"', { respondAsync: true, waitSeconds: 7 }],
  ['wait=3, wait=9', { respondAsync: false, waitSeconds: 3 }],
  ['return=minimal, x="respond-async, wait=5"', { respondAsync: false, waitSeconds: null }],
  ['wait=-1', { respondAsync: false, waitSeconds: null }],
  ['wait=soon, , ;', { respondAsync: false, waitSeconds: null }],
  ['respond-asynchronously', { respondAsync: false, waitSeconds: null }],
  ['', { respondAsync: false, waitSeconds: null }],
] as const)('Prefer: %s is read as RFC 7240 has it', ([header, expected]) => {
  expect(parsePrefer(header)).toEqual(expected)
})

test('repeated Prefer headers count as one', () => {
  expect(parsePrefer(['respond-async', 'wait=2'])).toEqual({ respondAsync: true, waitSeconds: 2 })
})

test('a Prefer header made to be slow is ignored quickly', () => {
  const before = process.threadCpuUsage()
  parsePrefer('"\\'.repeat(8000))
  parsePrefer('"\\'.repeat(499))
  expect(process.threadCpuUsage(before).user / 1_000).toBeLessThan(100)
})
