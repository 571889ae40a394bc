import { assert, constantFrom, json, nat, property, tuple } from 'fast-check'
import { expect, test } from 'vitest'
import { findJsonError } from '../../shared/json-position.ts'

function isJson(text: string): boolean {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}

test.for([
  ['{"a":1,}', 7],
  ['{"a" 1}', 5],
  ['[1 2]', 3],
  ['{"a":tru}', 5],
  ['{"a":"x', 7],
  ['', 0],
  ['{"a":1} x', 8],
  ['[01]', 2],
  ['"a\nb"', 2],
  ['{a:1}', 1],
  ['["\\x"]', 3],
] as const)('%j stops being JSON at %i', ([text, position]) => {
  expect(findJsonError(text)).toBe(position)
})

test('exactly what JSON.parse takes has no error position', () => {
  const broken = tuple(
    json(),
    nat(),
    constantFrom('', ',', '"', '}', ']', '\\', '1', 'e', '{', ' ', '\u0001'),
  ).map(([text, at, inserted]) => {
    const position = at % (text.length + 1)
    return text.slice(0, position) + inserted + text.slice(position + (at % 2))
  })
  assert(
    property(broken, (text) => {
      expect(findJsonError(text) === null).toBe(isJson(text))
    }),
    { numRuns: 2000 },
  )
})

test('ten megabytes in one string are no problem', () => {
  expect(findJsonError(`{"a":"${'x'.repeat(10_000_000)}`)).toBe(10_000_006)
})
