import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { isRawNumber, parseJsonLossless } from '../../shared/lossless-json.ts'

describe('numbers go out as they came in', () => {
  test.each([
    '9007199254740993',
    '-9007199254740993',
    '123456789012345678901234567890',
    '0.12345678901234567890123',
    '1e400',
    '1.234567890123456789e-5',
  ])('%s', (number) => {
    const text = `{"seed":${number},"list":[${number}]}`
    expect(JSON.stringify(parseJsonLossless(text))).toBe(text)
  })

  test.each(['0', '1', '-1.5', '9007199254740991', '1e3', '0.1', '1.0', '0.30000000000000004'])(
    '%s is an ordinary number',
    (number) => {
      const value = parseJsonLossless(number)
      expect(isRawNumber(value)).toBe(false)
      expect(value).toBe(Number(number))
    },
  )

  test('a long digit string within text is no number', () => {
    expect(parseJsonLossless('{"id":"9007199254740993"}')).toEqual({ id: '9007199254740993' })
  })

  test('any JSON reads as JSON.parse reads it', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        const text = JSON.stringify(value)
        expect(JSON.stringify(parseJsonLossless(text))).toBe(JSON.stringify(JSON.parse(text)))
      }),
    )
  })

  test('any whole number keeps all its digits', () => {
    fc.assert(
      fc.property(fc.bigInt(), (value) => {
        expect(JSON.stringify(parseJsonLossless(`[${value}]`))).toBe(`[${value}]`)
      }),
    )
  })
})
