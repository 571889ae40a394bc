import { afterAll, beforeAll, expect, test } from 'vitest'
import { startApi, type TestApi } from './fixture.ts'
import { fileForm } from './file-forms.ts'

let api: TestApi
beforeAll(async () => {
  api = await startApi({ tenantBytesMax: 3_000_000, fileBytesMax: 2_500_000, batchBytesMax: 1_000_000 })
})
afterAll(() => api.close())

/** A form whose parts are written out, each with its header lines. */
function raw(...parts: [head: string, value: string][]) {
  const text = parts.map(([head, value]) => `--b\r\n${head}\r\n\r\n${value}\r\n`).join('') + '--b--\r\n'
  return { body: Buffer.from(text), headers: { 'content-type': 'multipart/form-data; boundary=b' } }
}

const PURPOSE: [string, string] = ['content-disposition: form-data; name="purpose"', 'batch']

test.for<[string, [string, string][]]>([
  [
    'a file without a filename',
    [['content-disposition: form-data; name="file"\r\ncontent-type: application/octet-stream', '{}']],
  ],
  ['a file without a name', [['content-disposition: form-data; filename="x"', '{}']]],
  ['a field without a name', [['content-disposition: form-data', '{}']]],
  ['a name of an object', [['content-disposition: form-data; name="__proto__"', '{}']]],
  [
    'a file by the name of an object',
    [['content-disposition: form-data; name="constructor"; filename="x"', '{}']],
  ],
  [
    'JSON that is none',
    [['content-disposition: form-data; name="purpose"\r\ncontent-type: application/json', '{']],
  ],
  [
    'a purpose that is an object',
    [['content-disposition: form-data; name="purpose"\r\ncontent-type: application/json', '{"a":1}']],
  ],
  ['a name without end', [[`content-disposition: form-data; name="${'n'.repeat(5_000)}"`, '{}']]],
  ['heads without end', [[Array.from({ length: 3_000 }, (_, one) => `x-${one}: y`).join('\r\n'), '{}']]],
  ['fields without end', Array.from({ length: 100 }, () => PURPOSE)],
])('a form with %s is a 400, and leaves nothing', async ([, parts]) => {
  const answer = await api.call('POST', '/v1/files', raw(PURPOSE, ...parts))
  expect(answer.status, answer.text).toBe(400)
  expect(answer.text.length).toBeLessThan(1_000)
  const { redis, keys } = api.store
  expect(await redis.zcard(keys.filesDue)).toBe(0)
})

test('a tenant has so many uploads under way at once; more are told to come again, and others are not', async () => {
  const { key } = await api.apiKeys.create('greedy')
  const upload = (of?: string) => api.call('POST', '/v1/files', { ...fileForm('x'), key: of })
  const greedy = Array.from({ length: 40 }, () => upload(key))
  const other = await upload()
  const answers = await Promise.all(greedy)
  expect(other.status).toBe(200)
  expect(answers.filter(({ status }) => status === 200)).toHaveLength(32)
  for (const { json, headers } of answers.filter(({ status }) => status !== 200)) {
    expect(json).toMatchObject({ error: { type: 'rate_limit_error', code: 'too_many_uploads' } })
    expect(headers).toMatchObject({ 'x-should-retry': 'true', 'retry-after': expect.any(String) })
  }
  expect((await upload(key)).status).toBe(200)
})
