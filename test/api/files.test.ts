import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { File } from '../../shared/schemas/file.ts'
import { dumpFolder, dumpRedis } from '../support/dump.ts'
import { startApi, type TestApi } from './fixture.ts'
import { fileForm, FILENAME, form, type FormPart } from './file-forms.ts'

const MARKER = 'sk-a-secret-nobody-may-read'
const CUSTOM_ID = 'a-custom-id-nobody-may-read'
const CONTENT = Array.from({ length: 20_000 }, (_, number) => `line ${number} ${MARKER}`).join('\n')

let api: TestApi
beforeAll(async () => {
  api = await startApi({ tenantBytesMax: 3_000_000, fileBytesMax: 2_500_000, batchBytesMax: 1_000_000 })
})
afterAll(() => api.close())

async function upload(given: ReturnType<typeof form>, key?: string): Promise<File> {
  const answer = await api.call('POST', '/v1/files', { ...given, key })
  expect(answer.status, answer.text).toBe(200)
  return answer.json as File
}

/** Names of all that is stored. */
function stored(): string[] {
  const entries = readdirSync(api.folder, { recursive: true, withFileTypes: true })
  return entries.filter((one) => one.isFile()).map((one) => join(one.parentPath, one.name))
}

const line = (customId: string) =>
  JSON.stringify({ custom_id: customId, url: '/v1/chat/completions', body: { model: 'm' }, api_key: MARKER })

describe('an upload', () => {
  test('is a file in OpenAI’s shape, under /v1 and without it', async () => {
    const file = await upload(fileForm(CONTENT))
    expect(file).toEqual({
      id: expect.stringMatching(/^file-[a-z0-9_-]+$/),
      object: 'file',
      bytes: CONTENT.length,
      created_at: expect.any(Number),
      expires_at: null,
      filename: FILENAME,
      purpose: 'user_data',
      status: 'processed',
      status_details: null,
    })
    for (const path of [`/v1/files/${file.id}`, `/files/${file.id}`]) {
      expect((await api.call('GET', path)).json).toEqual(file)
    }
    const content = await api.call('GET', `/v1/files/${file.id}/content`)
    expect(content.text).toBe(CONTENT)
    expect(content.headers).toMatchObject({
      'content-length': String(CONTENT.length),
      'accept-ranges': 'bytes',
    })
  })

  test('may say its purpose and expiry after the file', async () => {
    const parts: FormPart[] = [
      { name: 'file', value: CONTENT, filename: FILENAME },
      { name: 'expires_after[seconds]', value: '3600' },
      { name: 'purpose', value: 'assistants' },
      { name: 'expires_after[anchor]', value: 'created_at' },
    ]
    const file = await upload(form(parts))
    expect(file).toMatchObject({ purpose: 'assistants', expires_at: file.created_at + 3600 })
    expect((await api.call('GET', `/v1/files/${file.id}/content`)).text).toBe(CONTENT)
  })

  test('may give expires_after as JSON', async () => {
    const value = JSON.stringify({ anchor: 'created_at', seconds: 7200 })
    for (const type of [undefined, 'application/json']) {
      const file = await upload(fileForm('x', 'vision', [{ name: 'expires_after', value, type }]))
      expect(file.expires_at).toBe(file.created_at + 7200)
    }
  })

  test('of a batch’s input is kept for 30 days, and its credentials apart, wherever its purpose stands', async () => {
    const lines = [line('a'), line('b')].join('\n')
    const asFile: FormPart = { name: 'file', value: lines, filename: 'in.jsonl' }
    const asPurpose: FormPart = { name: 'purpose', value: 'batch' }
    const texts: string[] = []
    for (const parts of [
      [asPurpose, asFile],
      [asFile, asPurpose],
    ]) {
      const file = await upload(form(parts))
      expect(file.expires_at).toBe(file.created_at + 30 * 86_400)
      const { text } = await api.call('GET', `/v1/files/${file.id}/content`)
      expect(text).toBe(lines.replaceAll(MARKER, '[erased]'))
      expect(file.bytes).toBe(text.length)
      texts.push(text)
      const view = await api.batches.files.read('default', file.id)
      expect(view).toMatchObject({ lines: 2, hasCredentials: true })
      expect(await api.store.redis.strlen(api.store.keys.fileKeys(file.id))).toBe(64)
    }
    expect(texts[0]).toBe(texts[1])
  })

  test('is readable neither in the store nor in Redis', async () => {
    await upload(fileForm(CONTENT))
    await upload(fileForm(`${line(CUSTOM_ID)}\n`, 'batch'))
    const everything = [await dumpFolder(api.folder), await dumpRedis(api.store.redis)]
    expect(everything[0]?.length).toBeGreaterThan(CONTENT.length)
    for (const bytes of everything) {
      for (const secret of [MARKER, CUSTOM_ID, FILENAME]) expect(bytes.includes(secret), secret).toBe(false)
    }
  })

  test.for<[string, ReturnType<typeof form>, number, string, string | null]>([
    [
      'no purpose',
      form([{ name: 'file', value: 'x', filename: 'f' }]),
      400,
      'missing_required_parameter',
      'purpose',
    ],
    ['a purpose that there is not', fileForm('x', 'batch_output'), 400, 'invalid_request', 'purpose'],
    ['no file', form([{ name: 'purpose', value: 'batch' }]), 400, 'missing_required_parameter', 'file'],
    ['a file that is a field', form([{ name: 'file', value: 'x' }]), 400, 'invalid_file', 'file'],
    [
      'two files',
      fileForm('x', 'vision', [{ name: 'file', value: 'y', filename: 'g' }]),
      400,
      'invalid_file',
      'file',
    ],
    [
      'another field',
      fileForm('x', 'vision', [{ name: 'nope', value: 'y' }]),
      400,
      'unknown_parameter',
      'nope',
    ],
    [
      'a second more than 30 days',
      fileForm('x', 'vision', [
        { name: 'expires_after[anchor]', value: 'created_at' },
        { name: 'expires_after[seconds]', value: '2592001' },
      ]),
      400,
      'invalid_request',
      'expires_after.seconds',
    ],
    [
      'an expiry that is no object',
      fileForm('x', 'vision', [{ name: 'expires_after', value: '5' }]),
      400,
      'invalid_request',
      'expires_after',
    ],
    ['a file over the limit', fileForm(Buffer.alloc(2_600_000)), 413, 'request_too_large', null],
    ['a batch over its limit', fileForm(' '.repeat(1_100_000), 'batch'), 413, 'request_too_large', null],
    [
      'a batch over its limit, as is told too late',
      form([
        { name: 'file', value: ' '.repeat(1_100_000), filename: 'f' },
        { name: 'purpose', value: 'batch' },
      ]),
      413,
      'request_too_large',
      null,
    ],
    [
      'a body that breaks off',
      form([{ name: 'file', value: 'x'.repeat(300_000), filename: 'f' }], { isWhole: false }),
      400,
      'invalid_multipart',
      null,
    ],
    [
      'no boundary',
      { ...fileForm('x'), headers: { 'content-type': 'multipart/form-data' } },
      400,
      'invalid_multipart',
      null,
    ],
    [
      'JSON',
      { body: Buffer.from('{}'), headers: { 'content-type': 'application/json' } },
      415,
      'unsupported_media_type',
      null,
    ],
  ])('with %s is refused and leaves nothing', async ([, given, status, code, param]) => {
    // A tenant of its own: what others have stored takes no room of it.
    const { key } = await api.apiKeys.create('refused')
    const before = stored().length
    const answer = await api.call('POST', '/v1/files', { ...given, key })
    expect(answer).toMatchObject({ status, json: { error: { type: 'invalid_request_error', code, param } } })
    expect(stored()).toHaveLength(before)
    const due = await api.store.redis.zrange(api.store.keys.filesDue, '0', '-1')
    for (const id of due) expect(await api.store.redis.hget(api.store.keys.file(id), 'source')).toBe('upload')
  })

  test('over what the tenant’s files may be says what they are', async () => {
    const { key } = await api.apiKeys.create('full')
    const two = fileForm(Buffer.alloc(2_000_000))
    await upload(two, key)
    const over = await api.call('POST', '/v1/files', { ...two, key })
    expect(over).toMatchObject({ status: 413, json: { error: { code: 'file_quota_exceeded' } } })
    expect(over.text).toMatch(/2000000 of 3000000 bytes/)
    const list = (await api.call('GET', '/v1/files', { key })).json as { data: File[] }
    await api.call('DELETE', `/v1/files/${list.data[0]?.id}`, { key })
    await upload(two, key)
  })

  test('of many at once never takes more than there is room for', async () => {
    const { key } = await api.apiKeys.create('many')
    const given = { ...fileForm(Buffer.alloc(800_000)), key }
    const answers = await Promise.all(Array.from({ length: 6 }, () => api.call('POST', '/v1/files', given)))
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(3)
    expect(answers.filter(({ status }) => status === 413)).toHaveLength(3)
    expect(await api.batches.files.bytesUsed('many')).toBe(2_400_000)
  })
})

describe('a list of files', () => {
  test('comes in pages of either order, of one purpose, and says where it goes on', async () => {
    const { key } = await api.apiKeys.create('lists')
    const ids: string[] = []
    for (let number = 0; number < 7; number += 1) {
      ids.push((await upload(fileForm('x', number % 2 ? 'vision' : 'evals'), key)).id)
    }
    const list = async (query: string) =>
      (await api.call('GET', `/v1/files${query}`, { key })).json as FileList
    expect(idsOf(await list(''))).toEqual(ids.toReversed())
    expect(await list('')).toMatchObject({
      object: 'list',
      has_more: false,
      first_id: ids[6],
      last_id: ids[0],
    })
    const page = await list('?order=asc&limit=3')
    expect(idsOf(page)).toEqual(ids.slice(0, 3))
    expect(page).toMatchObject({ has_more: true, last_id: ids[2] })
    expect(idsOf(await list(`?order=asc&limit=3&after=${ids[2]}`))).toEqual(ids.slice(3, 6))
    expect(idsOf(await list(`?after=${ids[2]}`))).toEqual([ids[1], ids[0]])
    expect(idsOf(await list('?purpose=vision&order=asc'))).toEqual([ids[1], ids[3], ids[5]])
    expect(await list('?purpose=batch')).toEqual({
      object: 'list',
      data: [],
      first_id: null,
      last_id: null,
      has_more: false,
    })
  })

  test.for(['?after=file-none', '?limit=0', '?limit=10001', '?order=up', '?nope=1'])(
    'with %s is a 400',
    async (query) => {
      const answer = await api.call('GET', `/v1/files${query}`)
      expect(answer).toMatchObject({ status: 400, json: { error: { type: 'invalid_request_error' } } })
    },
  )
})

type FileList = { data: File[]; has_more: boolean }

function idsOf({ data }: FileList): string[] {
  return data.map(({ id }) => id)
}

describe('content', () => {
  const content = 'x'.repeat(70_000) + 'the end'
  let file: File
  beforeAll(async () => {
    file = await upload(fileForm(content))
  })

  test.for<[string, number, string, string]>([
    ['bytes=0-0', 206, 'x', '0-0'],
    ['bytes=65530-65545', 206, 'x'.repeat(16), '65530-65545'],
    ['bytes=70000-', 206, 'the end', '70000-70006'],
    ['bytes=-3', 206, 'end', '70004-70006'],
    ['bytes=-999999', 206, content, '0-70006'],
    ['bytes=70000-999999', 206, 'the end', '70000-70006'],
    ['bytes=5-1', 200, content, ''],
    ['bytes=0-1,4-5', 200, content, ''],
    ['lines=1-2', 200, content, ''],
    ['bytes=-', 200, content, ''],
  ])('with Range %s is a %i', async ([range, status, text, where]) => {
    const answer = await api.call('GET', `/v1/files/${file.id}/content`, { headers: { range } })
    expect(answer.status).toBe(status)
    expect(answer.text === text).toBe(true)
    expect(answer.headers['content-length']).toBe(String(text.length))
    expect(answer.headers['content-range']).toBe(where === '' ? undefined : `bytes ${where}/70007`)
  })

  test.for(['bytes=70007-', 'bytes=80000-90000', 'bytes=-0'])('with Range %s is a 416', async (range) => {
    const answer = await api.call('GET', `/v1/files/${file.id}/content`, { headers: { range } })
    expect(answer).toMatchObject({ status: 416, json: { error: { code: 'range_not_satisfiable' } } })
    expect(answer.headers['content-range']).toBe('bytes */70007')
  })

  test('a range of another version is the whole', async () => {
    const { etag } = (await api.call('GET', `/v1/files/${file.id}/content`)).headers
    const ask = (ifRange: unknown) =>
      api.call('GET', `/v1/files/${file.id}/content`, {
        headers: { range: 'bytes=-3', 'if-range': String(ifRange) },
      })
    expect((await ask(etag)).status).toBe(206)
    expect((await ask('"another"')).status).toBe(200)
  })

  test('HEAD tells its length and reads nothing', async () => {
    const answer = await api.call('HEAD', `/v1/files/${file.id}/content`)
    expect(answer.status).toBe(200)
    expect(answer.headers).toMatchObject({ 'content-length': '70007', 'accept-ranges': 'bytes' })
    expect(answer.text).toBe('')
  })

  test('of an empty file is empty', async () => {
    const empty = await upload(fileForm(''))
    const answer = await api.call('GET', `/v1/files/${empty.id}/content`)
    expect(answer).toMatchObject({ status: 200, text: '' })
  })

  test('that is gone from the store is a 410 in OpenAI’s shape', async () => {
    const lost = await upload(fileForm('lost'))
    await api.batches.store.remove(`files/${lost.id}/`)
    const answer = await api.call('GET', `/v1/files/${lost.id}/content`)
    expect(answer).toMatchObject({ status: 410, json: { error: { type: 'invalid_request_error' } } })
  })

  test('keeps any filename in its header', async () => {
    const parts: FormPart[] = [
      { name: 'purpose', value: 'vision' },
      { name: 'file', value: 'x', filename: "naïve (1)'s 文件.txt" },
    ]
    const named = await upload(form(parts))
    expect(named.filename).toBe("naïve (1)'s 文件.txt")
    const { headers } = await api.call('GET', `/v1/files/${named.id}/content`)
    expect(headers['content-disposition']).toMatch(
      /^attachment; filename\*=UTF-8''na%C3%AFve%20%281%29%27s%20[%A-F0-9]+\.txt$/,
    )
  })
})

describe('a file', () => {
  test('that is deleted is gone with all that was stored of it', async () => {
    const file = await upload(fileForm(`${line('a')}\n`, 'batch'))
    expect(stored().filter((path) => path.includes(file.id))).toHaveLength(3)
    const used = await api.batches.files.bytesUsed('default')
    expect((await api.call('DELETE', `/v1/files/${file.id}`)).json).toEqual({
      id: file.id,
      object: 'file',
      deleted: true,
    })
    expect(stored().filter((path) => path.includes(file.id))).toEqual([])
    expect(await api.batches.files.bytesUsed('default')).toBe(used - file.bytes)
    const { keys, redis } = api.store
    expect(await redis.exists(keys.file(file.id), keys.fileKeys(file.id))).toBe(0)
    expect(await redis.zscore(keys.filesDue, file.id)).toBeNull()
    for (const [method, path] of EVERYWHERE) {
      expect((await api.call(method, `/v1/files/${file.id}${path}`)).status).toBe(404)
    }
  })

  test('of another tenant is a 404 everywhere, and stays', async () => {
    const file = await upload(fileForm('mine'))
    const { key } = await api.apiKeys.create('stranger')
    for (const [method, path] of EVERYWHERE) {
      const answer = await api.call(method, `/v1/files/${file.id}${path}`, { key })
      expect(answer, `${method} ${path}`).toMatchObject({
        status: 404,
        json: { error: { code: 'not_found' } },
      })
    }
    expect(await api.batches.files.remove('stranger', file.id)).toBe('gone')
    expect((await api.call('GET', '/v1/files', { key })).json).toMatchObject({ data: [] })
    expect((await api.call('GET', `/v1/files?after=${file.id}`, { key })).status).toBe(400)
    expect((await api.call('GET', `/v1/files/${file.id}/content`)).text).toBe('mine')
  })

  test('that an unfinished batch reads can not be deleted', async () => {
    const file = await upload(fileForm(line('a'), 'batch'))
    await api.store.redis.hset(api.store.keys.file(file.id), 'uses', 1)
    expect(await api.call('DELETE', `/v1/files/${file.id}`)).toMatchObject({
      status: 409,
      json: { error: { type: 'conflict_error', code: 'file_in_use' } },
      headers: { 'x-should-retry': 'false' },
    })
    await api.store.redis.hset(api.store.keys.file(file.id), 'uses', 0)
    expect((await api.call('DELETE', `/v1/files/${file.id}`)).status).toBe(200)
  })

  test.for(['nope', 'file-', 'file-../../x', 'job_1'])('with the id %j is a 404', async (id) => {
    expect((await api.call('GET', `/v1/files/${encodeURIComponent(id)}`)).status).toBe(404)
  })
})

const EVERYWHERE = [
  ['GET', ''],
  ['GET', '/content'],
  ['DELETE', ''],
] as const
