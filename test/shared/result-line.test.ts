import fc from 'fast-check'
import { expect, test } from 'vitest'
import {
  answeredLine,
  customIdOf,
  errorOfLine,
  failedLine,
  UNANSWERED,
  unansweredLine,
} from '../../shared/batches/result-line.ts'

const name = { id: 'batch_req_0a_7', customId: 'mine "7"\n\u{1f600}' }

const CHARACTER = fc.constantFrom('a', '"', '\\', '\n', '}', '\u{e9}', '\u{1f600}', '\ud800')

function answer(body: string | Buffer, requestId: string | null = 'req_1') {
  return answeredLine(name, { status: 200, requestId, body: Buffer.from(body) })
}

test('an answer is one line in the form of an output file of OpenAI', () => {
  expect(answer('{"id":"chatcmpl-1","choices":[]}').toString()).toBe(
    `{"id":"batch_req_0a_7","custom_id":${JSON.stringify(name.customId)},"response":{"status_code":200,"request_id":"req_1","body":{"id":"chatcmpl-1","choices":[]}},"error":null}\n`,
  )
  expect(JSON.parse(answer('{}', null).toString())).toEqual({
    id: name.id,
    custom_id: name.customId,
    response: { status_code: 200, request_id: null, body: {} },
    error: null,
  })
})

test('a body that a provider laid out over lines loses its line breaks and nothing else', () => {
  fc.assert(
    fc.property(fc.jsonValue(), fc.constantFrom('\n', '\r\n'), fc.nat(4), (value, lineBreak, indent) => {
      const told = { value, id: 'number' }
      const body = JSON.stringify(told, null, indent)
        .replace('"number"', '[12345678901234567890, 1.0, 1E+2, -0.10]')
        .replaceAll('\n', lineBreak)
      const line = answer(`${lineBreak}${body}${lineBreak}`).toString()
      expect(line.indexOf('\n')).toBe(line.length - 1)
      expect(line).toContain(`"body":${body.replaceAll(/[\r\n]/g, '')}},"error":null}`)
      expect(JSON.parse(line)).toMatchObject({ response: { body: JSON.parse(body) } })
    }),
  )
})

test('stray bytes of a provider leave the file readable as UTF-8', () => {
  const line = answer(Buffer.from([...Buffer.from('{"text":"a'), 0xff, ...Buffer.from('b"}')]))
  const strict = new TextDecoder('utf-8', { fatal: true })
  expect(JSON.parse(strict.decode(line))).toMatchObject({ response: { body: { text: 'a\u{fffd}b' } } })
})

test.each([
  [{ status: 429, type: 'server_error' }, 429],
  [{ status: 200, type: 'server_error' }, 502],
  [{ status: null, type: 'server_error' }, 502],
  [{ status: null, type: 'invalid_request_error' }, 400],
  [{ status: null, type: 'timeout_error' }, 504],
])('a failed call is told as an error response: %j with status %i', ({ status, type }, expected) => {
  const error = { message: 'No.', type, param: null, code: 'upstream_error' }
  const line = failedLine(name, { status, requestId: null, error })
  expect(JSON.parse(line.toString())).toEqual({
    id: name.id,
    custom_id: name.customId,
    response: { status_code: expected, request_id: null, body: { error } },
    error: null,
  })
  expect(errorOfLine(line)).toEqual(error)
})

test('a line that never ran has no response, and says why', () => {
  const line = unansweredLine(name, UNANSWERED.expired)
  expect(JSON.parse(line.toString())).toEqual({
    id: name.id,
    custom_id: name.customId,
    response: null,
    error: { code: 'batch_expired', message: expect.any(String) },
  })
  expect(errorOfLine(line)).toEqual(UNANSWERED.expired)
})

test('the custom id is found whatever it holds', () => {
  fc.assert(
    fc.property(fc.array(CHARACTER, { maxLength: 256 }), (characters) => {
      const customId = characters.join('')
      const line = answeredLine(
        { ...name, customId },
        { status: 200, requestId: null, body: Buffer.from('{}') },
      )
      expect(customIdOf(line)).toBe(customId)
    }),
  )
})
