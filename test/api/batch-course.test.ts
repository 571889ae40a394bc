import { get, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createSseReader, type SseEvent } from '../../shared/sse.ts'
import { eventually } from '../support/eventually.ts'
import { ask, batchStage, requestLine, type BatchStage } from './batch-stage.ts'
import { fileForm } from './file-forms.ts'
import { MASTER_KEY, startApi, type TestApi } from './fixture.ts'

let api: TestApi
let stage: BatchStage
beforeAll(async () => {
  api = await startApi({ heartbeatMs: 100 })
  stage = batchStage(api)
  await api.app.listen({ host: '127.0.0.1', port: 0 })
})
afterAll(() => api.close())

const cancel = (id: string) => api.call('POST', `/v1/batches/${id}/cancel`)

/** The events of a batch as they come, over a real connection. */
async function follow(id: string, headers: Record<string, string> = {}) {
  const { port } = api.app.server.address() as AddressInfo // it listens on one
  const options = { host: '127.0.0.1', port, path: `/v1/batches/${id}/events`, agent: false }
  const answer = await new Promise<IncomingMessage>((resolve, reject) => {
    const own = { authorization: `Bearer ${MASTER_KEY}`, ...headers }
    get({ ...options, headers: own }, resolve).once('error', reject)
  })
  const events: SseEvent[] = []
  const read = createSseReader()
  let raw = ''
  answer.on('data', (piece: Buffer) => {
    raw += piece.toString()
    events.push(...read(piece))
  })
  return {
    status: answer.statusCode,
    headers: answer.headers,
    events,
    raw: () => raw,
    names: () => events.map(({ event }) => event),
    ended: () => eventually('the stream ends', () => answer.readableEnded),
    leave: () => answer.destroy(),
  }
}

const batchIn = ({ data }: SseEvent) => JSON.parse(data).batch

test('counts, usage and cost are live, and files are shown only once the batch has ended', async () => {
  const { id } = await stage.create()
  const { settle, finish } = await stage.begin(id, 3)
  expect(await stage.read(id)).toMatchObject({
    status: 'in_progress',
    model: 'mine',
    in_progress_at: expect.any(Number),
    request_counts: { total: 3, completed: 0, failed: 0 },
  })
  await settle(0)
  await settle(2, 'failed')
  const halfway = await stage.read(id)
  expect(halfway).toMatchObject({
    request_counts: { total: 3, completed: 1, failed: 1 },
    progress: { completed: 1, failed: 1 },
    usage: {
      input_tokens: 6,
      input_tokens_details: { cached_tokens: 2 },
      output_tokens: 4,
      total_tokens: 10,
    },
    cost: 0.000_002,
    output_file_id: null,
    error_file_id: null,
  })
  expect(halfway.progress.queued + halfway.progress.in_progress).toBe(1)
  await settle(1)
  expect(await stage.read(id)).toMatchObject({ status: 'finalizing', output_file_id: null })
  await finish()
  expect(await stage.read(id)).toMatchObject({
    status: 'completed',
    completed_at: expect.any(Number),
    finalizing_at: expect.any(Number),
    request_counts: { total: 3, completed: 2, failed: 1 },
    output_file_id: expect.stringMatching(/^file-/),
    error_file_id: expect.stringMatching(/^file-/),
    result_expires_at: expect.any(Number),
  })
})

test('a batch whose lines have all failed is completed, without an output file', async () => {
  expect(await stage.end(['failed', 'failed'])).toMatchObject({
    status: 'completed',
    request_counts: { total: 2, completed: 0, failed: 2 },
    output_file_id: null,
    error_file_id: expect.stringMatching(/^file-/),
  })
})

test('a batch whose input was refused has failed, and says in which lines', async () => {
  const { id } = await stage.create()
  await stage.refuse(id)
  expect(await stage.read(id)).toMatchObject({
    status: 'failed',
    failed_at: expect.any(Number),
    errors: {
      object: 'list',
      data: [{ code: 'invalid_json_line', message: 'No.', param: null, line: 2 }],
    },
    output_file_id: null,
    error_file_id: null,
  })
})

test('credentials of lines that came in the call are erased with a batch that was refused, those of a file with the file', async () => {
  const { redis, keys } = api.store
  const requests = [requestLine('x', { api_key: 'sk-canary' })]
  const inline = await stage.create(ask({ requests }))
  const upload = fileForm(JSON.stringify(requests[0]), 'batch')
  const { id: input_file_id } = (await api.call('POST', '/v1/files', upload)).json
  const { requests: _none, ...over } = ask()
  const filed = await stage.create({ ...over, input_file_id })
  for (const { id } of [inline, filed]) await stage.refuse(id)
  expect(await redis.exists(keys.fileKeys(inline.input_file_id))).toBe(0)
  expect(await redis.exists(keys.fileKeys(input_file_id))).toBe(1)
  expect((await api.call('DELETE', `/v1/files/${input_file_id}`)).status).toBe(200)
  expect(await redis.exists(keys.fileKeys(input_file_id))).toBe(0)
})

test('a batch that is cancelled is cancelling until its lines are out, twice as once', async () => {
  const { id } = await stage.create()
  const { settle, finish } = await stage.begin(id, 3)
  await settle(0)
  for (const answer of [await cancel(id), await cancel(id)]) {
    expect(answer.status).toBe(200)
    expect(answer.json).toMatchObject({ id, status: 'cancelling', cancelling_at: expect.any(Number) })
  }
  await settle(1, 'cancelled')
  await settle(2, 'cancelled')
  await finish()
  expect(await stage.read(id)).toMatchObject({
    status: 'cancelled',
    cancelled_at: expect.any(Number),
    request_counts: { total: 3, completed: 1, failed: 0 },
    progress: { cancelled: 2 },
    output_file_id: expect.stringMatching(/^file-/),
  })
})

test.each(['completed', 'failed'] as const)('a batch that has %s can not be cancelled', async (status) => {
  const { id } = status === 'completed' ? await stage.end(['completed']) : await stage.create()
  if (status === 'failed') await stage.refuse(id)
  const answer = await cancel(id)
  expect([answer.status, answer.json.error.code]).toEqual([400, 'batch_ended'])
  expect(answer.json.error.message).toContain(status)
  expect((await stage.read(id)).status).toBe(status)
})

test('a cancel may have the content type of a body that it has not, as Python sends it', async () => {
  const { id } = await stage.create()
  const headers = { 'content-type': 'application/json' }
  expect((await api.call('POST', `/v1/batches/${id}/cancel`, { headers })).status).toBe(200)
})

test('whoever waits for a batch is answered when it ends, or with how it stands when his time is over', async () => {
  const { id } = await stage.create()
  const soon = await api.call('GET', `/v1/batches/${id}?wait=0.05`)
  expect([soon.status, soon.json.status]).toEqual([200, 'validating'])
  const waiting = api.call('GET', `/v1/batches/${id}`, { headers: { prefer: 'wait=30' } })
  await eventually('it waits', () => api.settled.size() > 0)
  const startedAt = performance.now()
  await stage.refuse(id)
  const answer = await waiting
  expect(answer.json.status).toBe('failed')
  expect(answer.headers['preference-applied']).toBe('wait=30')
  expect(performance.now() - startedAt).toBeLessThan(15_000)
  expect((await api.call('GET', `/v1/batches/${id}?wait=30`)).json.status).toBe('failed')
  expect((await api.call('GET', `/v1/batches/${id}?wait=-1`)).json.error.param).toBe('wait')
  expect(api.settled.size()).toBe(0)
})

test('a batch can be followed from its creation to its end, and each count it had is told in order', async () => {
  const { id } = await stage.create()
  const reader = await follow(id)
  expect(reader.status).toBe(200)
  expect(reader.headers['content-type']).toMatch(/^text\/event-stream/)
  await eventually('the snapshot comes', () => reader.events.length === 1)
  const { settle, finish } = await stage.begin(id, 3)
  await eventually('the begin is told', () => reader.names().includes('batch.in_progress'))
  await settle(0)
  await eventually('progress is told', () => reader.names().includes('batch.progress'))
  await settle(1)
  await settle(2, 'failed')
  await finish()
  await reader.ended()
  const names = reader.names()
  expect(names.slice(0, 3)).toEqual(['batch.snapshot', 'batch.in_progress', 'batch.progress'])
  expect(names.slice(-2)).toEqual(['batch.completed', 'end'])
  expect(batchIn(reader.events[0] ?? { data: '' })).toMatchObject({ id, status: 'validating' })
  expect(batchIn(reader.events[2] ?? { data: '' }).request_counts).toEqual({
    total: 3,
    completed: 1,
    failed: 0,
  })
  expect(batchIn(reader.events.at(-2) ?? { data: '' })).toEqual(await stage.read(id))
  const ids = [...reader.raw().matchAll(/^id: (.*)$/gm)].map(([, number]) => number)
  expect(ids).toEqual([...ids.slice(0, -2), '3.end', '3.end'])
  expect(ids.slice(0, 3)).toEqual(['0', '0', '1'])
  expect(api.settled.size() + api.batches.news.size()).toBe(0)
})

test('many lines that settle within a second are told as one', async () => {
  const { id } = await stage.create(ask({ concurrency: 100 }))
  const { settle, finish } = await stage.begin(id, 30)
  const reader = await follow(id)
  await eventually('the snapshot comes', () => reader.events.length === 1)
  const startedAt = performance.now()
  for (let line = 0; line < 30; line += 1) await settle(line)
  await finish()
  await reader.ended()
  // One at once, one in each second after it.
  const seconds = Math.ceil((performance.now() - startedAt) / 1_000)
  expect(seconds).toBeLessThan(28)
  expect(reader.names().filter((name) => name === 'batch.progress').length).toBeLessThanOrEqual(1 + seconds)
  expect(reader.names().slice(-2)).toEqual(['batch.completed', 'end'])
})

test('a reader hears while nothing happens, and one who leaves is not waited for', async () => {
  const { id } = await stage.create()
  const reader = await follow(id)
  await eventually('a heartbeat comes', () => reader.raw().includes(': under way'))
  reader.leave()
  await eventually('it is forgotten', () => api.batches.news.size() === 0)
})

test('the events of a batch that has ended are its snapshot and its end; whoever had them has had all', async () => {
  const { id } = await stage.end(['completed'])
  const { status, text: events } = await api.call('GET', `/v1/batches/${id}/events`)
  expect(status).toBe(200)
  const names = createSseReader()(Buffer.from(events)).map(({ event }) => event)
  expect(names).toEqual(['batch.snapshot', 'batch.completed', 'end'])
  const back = (last: string) =>
    api.call('GET', `/v1/batches/${id}/events`, { headers: { 'last-event-id': last } })
  expect((await back('1.end')).status).toBe(204)
  expect((await back('1')).text).toContain('batch.completed')
  const wrong = await back('x')
  expect([wrong.status, wrong.json.error.param]).toEqual([400, 'Last-Event-ID'])
})

test('a process that stops ends the stream of events, and answers who waits', async () => {
  const own = await startApi()
  const { id } = await batchStage(own).create()
  const other = await batchStage(own).create()
  await own.app.listen({ host: '127.0.0.1', port: 0 })
  const { port } = own.app.server.address() as AddressInfo // it listens on one
  const headers = { authorization: `Bearer ${MASTER_KEY}` }
  const answer = await new Promise<IncomingMessage>((resolve) => {
    get({ host: '127.0.0.1', port, path: `/v1/batches/${id}/events`, headers, agent: false }, resolve)
  })
  const waiting = own.call('GET', `/v1/batches/${other.id}?wait=60`)
  await eventually('it waits', () => own.settled.size() === 2)
  const startedAt = performance.now()
  const closed = own.close()
  expect(await text(answer)).toContain('batch.snapshot')
  expect((await waiting).json.status).toBe('validating')
  await closed
  expect(performance.now() - startedAt).toBeLessThan(30_000)
})
