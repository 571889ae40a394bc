import { afterEach, beforeEach, expect, test } from 'vitest'
import { readFileContent } from '../../shared/batches/file-content.ts'
import { NO_STATE } from '../support/batch-store.ts'
import { collect } from '../support/bytes.ts'
import { eventually } from '../support/eventually.ts'
import { customIds, readAlong, startBatchOutput, type TestBatchOutput } from './batch-output-fixture.ts'

let api: TestBatchOutput
beforeEach(async () => {
  api = await startBatchOutput()
})
afterEach(() => api.close())

const line = (number: number) => `line-${number}`

/** The reader's connection takes no more. */
async function connectionIsFull(): Promise<void> {
  let last = 0
  await eventually(
    'the connection takes no more',
    () => {
      const { bytes, isFull } = api.read()
      const hasStopped = isFull && bytes === last
      last = bytes
      return hasStopped
    },
    { everyMs: 100 },
  )
}

test('the lines that are settled can be read while the others run, by kind', async () => {
  const { id, settle } = await api.begin(5)
  await settle(3)
  await settle(1, 'failed')
  await settle(0)
  const output = await api.get(`/batches/${id}/output`)
  expect(output.status).toBe(200)
  expect(output.headers['content-type']).toBe('application/x-ndjson')
  expect(customIds(output.text)).toEqual([line(3), line(0)])
  expect(customIds((await api.get(`/batches/${id}/output?kind=error`)).text)).toEqual([line(1)])
  const all = await api.get(`/batches/${id}/output?kind=all`)
  expect(customIds(all.text)).toEqual([line(3), line(1), line(0)])
})

test('one who follows has each line as soon as it is settled, and the end with the batch', async () => {
  const { id, settle, finish } = await api.begin(3)
  await settle(2)
  const seen = readAlong(await api.open(`/batches/${id}/output?kind=all&follow=true`))
  await eventually('the settled line comes', () => customIds(seen.text).length === 1)
  await settle(0, 'failed')
  await eventually('the next one comes', () => customIds(seen.text).length === 2)
  await eventually('a blank line says that it is under way', () => seen.text.includes('\n\n'))
  await settle(1)
  expect(seen.hasEnded).toBe(false)
  await finish()
  await eventually('it ends', () => seen.hasEnded)
  expect(customIds(seen.text)).toEqual([line(2), line(0), line(1)])
  expect(api.news.size()).toBe(0)
})

test('one who follows a batch that is sorted at its end has each line once', async () => {
  const all = Array.from({ length: 30 }, (_, number) => number)
  const { id, settle, finish } = await api.begin(all.length, { isOrdered: true })
  await Promise.all(all.slice(15).map((number) => settle(number, 'completed', 1_000_000)))
  const answer = await api.open(`/batches/${id}/output?follow=true`)
  await connectionIsFull()
  // He is behind when the batch ends, and what is still to be told lies elsewhere then.
  await Promise.all(all.slice(0, 15).map((number) => settle(number)))
  await finish()
  const told = customIds((await collect(answer)).toString())
  expect(told).toHaveLength(all.length)
  expect(new Set(told)).toEqual(new Set(all.map(line)))
  const sorted = await api.get(`/batches/${id}/output?follow=true`)
  expect(customIds(sorted.text)).toEqual(all.map(line))
})

test('word of a line that is lost on its way delays it, and no more', async () => {
  const { id, settle } = await api.begin(2)
  const seen = readAlong(await api.open(`/batches/${id}/output?follow=true`))
  await eventually('the subscription holds', async () => {
    const said = await api.redis.pubsub('NUMSUB', api.keys.batchChannel(id))
    return said[1] === 1
  })
  await api.subscriber.unsubscribe()
  await settle(0)
  await eventually('the line comes', () => customIds(seen.text).length === 1)
})

test('a reader who leaves, and a process that stops, end what is followed', async () => {
  const { id, settle } = await api.begin(3)
  await settle(0)
  const left = await api.open(`/batches/${id}/output?follow=true`)
  const stays = readAlong(await api.open(`/batches/${id}/output?follow=true`))
  await eventually('both are followed', () => api.news.size() === 1 && customIds(stays.text).length === 1)
  left.destroy()
  api.holds.endAll()
  await eventually('the other ends in order', () => stays.hasEnded)
  await eventually('nobody watches', () => api.news.size() === 0)
  expect(stays.failure).toBe(null)
})

test('for a reader who does not read a process holds little, and he has every line when he does', async () => {
  const [count, lineBytes] = [80, 250_000]
  const { id, settle, finish } = await api.begin(count)
  await Promise.all(Array.from({ length: count }, (_, number) => settle(number, 'completed', lineBytes)))
  const slow = await api.open(`/batches/${id}/output?follow=true`)
  await connectionIsFull()
  expect(api.read().bytes).toBeLessThan(count * lineBytes)
  expect(api.read().heldBytes).toBeLessThan(700_000)
  await finish()
  const lines = (await collect(slow)).toString().split('\n')
  expect(lines.filter((text) => text !== '')).toHaveLength(count)
})

test('the lines are listed in the order of the input, each with what it is at and what it came to', async () => {
  const { id, chunks, settle } = await api.begin(6)
  const [chunk] = chunks
  if (!chunk) throw new Error('There is no chunk.')
  await settle(4)
  await settle(1, 'failed')
  await settle(5, 'cancelled')
  await api.claims.start(chunk, 2, { ...NO_STATE, queueState: 'active' })
  await api.claims.park(chunk, 3, 60_000, { ...NO_STATE, queueState: 'rate_limited' })

  const { text } = await api.get(`/batches/${id}/requests`)
  const list = JSON.parse(text)
  expect(list).toMatchObject({ object: 'list', has_more: false, first_id: list.data[0].id })
  expect(list.data.map((one: { status: string }) => one.status)).toEqual([
    'queued', 'failed', 'in_progress', 'queued', 'completed', 'cancelled',
  ]) // oxfmt-ignore
  expect(list.data.map((one: { custom_id: string }) => one.custom_id)).toEqual([0, 1, 2, 3, 4, 5].map(line))
  expect(list.data.map((one: { line: number }) => one.line)).toEqual([0, 1, 2, 3, 4, 5])
  expect(list.data[4]).toMatchObject({
    object: 'batch.request',
    attempts: [{ number: 1, outcome: 'completed' }],
    usage: { total_tokens: 5 },
    cost: 0.000_001,
    error: null,
  })
  expect(list.data[1].error).toMatchObject({ code: 'upstream_error', type: 'server_error', param: null })
  expect(list.data[5].error).toMatchObject({ code: 'batch_cancelled' })
  expect(text).not.toContain('hello')
})

test('pages of lines go on where the last one ended, of one status too', async () => {
  const { id, settle } = await api.begin(7)
  for (const number of [0, 2, 3, 6]) await settle(number)
  for (const [status, expected] of [
    ['', [0, 1, 2, 3, 4, 5, 6]],
    ['&status=completed', [0, 2, 3, 6]],
    ['&status=queued', [1, 4, 5]],
  ] as const) {
    const found: number[] = []
    let after = ''
    for (let hasMore = true; hasMore;) {
      const page = JSON.parse((await api.get(`/batches/${id}/requests?limit=3${status}${after}`)).text)
      found.push(...page.data.map((one: { line: number }) => one.line))
      hasMore = page.has_more
      after = `&after=${page.last_id}`
    }
    expect(found).toEqual(expected)
  }
})

test.each([
  ['/requests?after=batch_req_nobody_1', 400, 'after'],
  ['/requests?limit=101', 400, 'limit'],
  ['/requests?status=done', 400, 'status'],
  ['/output?kind=both', 400, 'kind'],
])('%s is refused with status %i and names its parameter', async (path, status, param) => {
  const { id } = await api.begin(1)
  const answer = await api.get(`/batches/${id}${path}`)
  expect(answer.status).toBe(status)
  expect(JSON.parse(answer.text).error).toMatchObject({ type: 'invalid_request_error', param })
})

test("another tenant's batch can't be told from one that never was", async () => {
  const { id, settle } = await api.begin(1)
  await settle(0)
  for (const path of ['output', 'output?follow=true', 'requests']) {
    const others = await api.get(`/batches/${id}/${path}`, { 'x-tenant': 'other' })
    const never = await api.get(`/batches/batch_none/${path}`)
    expect([others.status, never.status]).toEqual([404, 404])
    expect(others.text).toBe(never.text)
  }
})

test('the files of an ended batch are its result lines byte for byte, in any ranges, until they are deleted', async () => {
  const { id, settle, finish } = await api.begin(9)
  for (const number of [8, 1, 5, 2, 7, 0, 3, 4]) await settle(number)
  await settle(6, 'failed')
  await finish()
  const view = await api.batches.read('acme', id)
  for (const [kind, fileId] of [
    ['output', view?.outputFileId],
    ['error', view?.errorFileId],
  ] as const) {
    const file = await api.files.read('acme', fileId ?? '')
    if (!file) throw new Error('There is no such file.')
    // Its id does not say whose it is: its record does.
    expect(await api.files.read('other', file.id)).toBeNull()
    expect(await api.files.remove('other', file.id)).toBe('gone')
    const { text } = await api.get(`/batches/${id}/output?kind=${kind}`)
    expect(file.bytes).toBe(Buffer.byteLength(text))
    const deps = { store: api.fileStore, sealer: api.sealer }
    expect((await collect(readFileContent(deps, file))).toString()).toBe(text)
    const middle = { from: 150, to: file.bytes - 10 }
    expect((await collect(readFileContent(deps, file, middle))).toString()).toBe(text.slice(150, -10))
  }
  await api.fileStore.remove(`batches/${id}/output/`)
  const gone = await api.get(`/batches/${id}/output`)
  expect(gone.status).toBe(410)
  expect(JSON.parse(gone.text).error).toMatchObject({ code: 'result_expired' })

  const listed = await api.get(`/batches/${id}/requests`)
  expect(listed.status).toBe(200)
  const { data } = JSON.parse(listed.text)
  expect(data).toHaveLength(9)
  expect(data[0]).toMatchObject({ custom_id: line(0), status: 'completed', attempts: [], usage: null })
  expect(data[6]).toMatchObject({ custom_id: line(6), status: 'failed', error: { code: expect.any(String) } })
})
