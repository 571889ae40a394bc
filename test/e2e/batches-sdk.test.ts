import { fileURLToPath } from 'node:url'
import { toFile, type OpenAI } from 'openai'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { Batch } from '../../shared/schemas/batch.ts'
import { batchesOf, inputLine, inputLines, lineOf } from '../support/batches.ts'
import { openaiClient, SDKS } from '../support/clients.ts'
import { eventually } from '../support/eventually.ts'
import { startProcess } from '../support/processes.ts'
import { completion, failure } from '../support/provider.ts'
import { missingPythonSdk, PYTHON } from '../support/python.ts'
import { startReceiver, type TestReceiver } from '../support/receiver.ts'
import { environment } from '../support/redis-process.ts'
import { ownConfig } from '../support/requests.ts'
import { freshKey, gateway, provider, useGateway } from '../support/stage.ts'

const SCRIPT = fileURLToPath(new URL('../support/batch_script.py', import.meta.url))
const SECRET = `whsec_${Buffer.from('a secret of 24 bytes ...').toString('base64')}`
const reason = missingPythonSdk()
if (reason) console.log(`skipped: batches are not tested with the Python SDK, since ${reason}`)

let receiver: TestReceiver
beforeAll(async () => {
  receiver = await startReceiver()
})
afterAll(() => receiver?.close())
beforeEach(() => void (receiver.received.length = 0))

useGateway()

const config = (key = freshKey()) => ownConfig({ url: provider.url, key }, { num_retries: 0 })
const keyed = (key: string, model: string) => ({
  user_config: ownConfig({ url: provider.url, key, model }),
})
const bodyOf = (lines: readonly object[]) => lines.map((line) => `${JSON.stringify(line)}\n`).join('')
const namesIn = (text: string) =>
  text
    .trimEnd()
    .split('\n')
    .map((row) => JSON.parse(row).custom_id as string) // as it was sent
    .toSorted()

/** A create call with fields that OpenAI's types do not know. */
const asked = (fields: object) => fields as unknown as OpenAI.BatchCreateParams // they go into the body as they are

describe.each(SDKS)('a user of $name', ({ make }) => {
  const clientOf = (apiKey = gateway.masterKey) =>
    make({ baseURL: `${gateway.url}/v1`, apiKey, maxRetries: 0 })

  test('uploads lines, runs them as a batch, and reads what came of them', async () => {
    provider.answer((call) =>
      lineOf(call).endsWith('1') ? failure(400, 'bad_request') : completion(`said ${lineOf(call)}`),
    )
    const client = clientOf()
    const lines = inputLines(3).map((line) => ({ ...line, user_config: config() }))
    const file = await client.files.create({
      purpose: 'batch',
      file: await toFile(Buffer.from(bodyOf(lines)), 'lines.jsonl'),
    })
    expect(file).toMatchObject({
      object: 'file',
      purpose: 'batch',
      status: 'processed',
      filename: 'lines.jsonl',
    })
    const created = await client.batches.create({
      input_file_id: file.id,
      endpoint: '/v1/chat/completions',
      completion_window: '24h',
      metadata: { night: 'first' },
    })
    expect(created).toMatchObject({ object: 'batch', status: 'validating', input_file_id: file.id })
    const batch = await eventually('the batch ends', async () => {
      const read = await client.batches.retrieve(created.id)
      return read.status === 'completed' ? read : null
    })
    expect(batch.request_counts).toEqual({ total: 3, completed: 2, failed: 1 })
    expect(batch.usage).toMatchObject({ input_tokens: 14, output_tokens: 10, total_tokens: 24 })
    expect(batch.metadata).toEqual({ night: 'first' })
    const output = await (await client.files.content(batch.output_file_id ?? '')).text()
    expect(namesIn(output)).toEqual(['line-0', 'line-2'])
    const answers = output
      .trimEnd()
      .split('\n')
      .map((row) => JSON.parse(row))
    for (const { custom_id: name, response, error } of answers) {
      expect(error).toBeNull()
      expect(response.status_code).toBe(200)
      expect(response.body).toEqual(completion(`said ${name}`).body)
    }
    const failed = JSON.parse(await (await client.files.content(batch.error_file_id ?? '')).text())
    expect(failed).toMatchObject({
      custom_id: 'line-1',
      response: { status_code: 400, body: { error: { code: 'bad_request' } } },
      error: null,
    })
    expect((await client.files.retrieve(batch.output_file_id ?? '')).purpose).toBe('batch_output')
    expect(await (await client.files.content(file.id)).text()).not.toContain('sk-own')
    expect(await client.files.delete(file.id)).toEqual({ id: file.id, object: 'file', deleted: true })
  })

  test('learns from the batch what is wrong with its lines', async () => {
    const client = clientOf()
    const text = `${JSON.stringify(inputLine('a'))}\n{"custom_id":\n`
    const file = await client.files.create({
      purpose: 'batch',
      file: await toFile(Buffer.from(text), 'x.jsonl'),
    })
    const { id } = await client.batches.create(
      asked({
        input_file_id: file.id,
        endpoint: '/v1/chat/completions',
        completion_window: '24h',
        user_config: config(),
      }),
    )
    const batch = await eventually('it has failed', async () => {
      const read = await client.batches.retrieve(id)
      return read.status === 'failed' ? read : null
    })
    expect(batch.errors?.data?.map(({ code, line }) => [code, line])).toEqual([['invalid_json_line', 2]])
    expect([batch.output_file_id, batch.error_file_id]).toEqual([null, null])
    expect(provider.ledger).toEqual([])
  })

  test('cancels a batch, keeps what was done, and is told when there is nothing to cancel', async () => {
    provider.answer((call) => (lineOf(call) === 'line-0' ? completion('done') : { kind: 'hang' }))
    const client = clientOf()
    const batches = batchesOf(gateway)
    const { id } = await batches.start(inputLines(3), { user_config: config(), concurrency: 2 })
    await batches.when('has one line done', id, ({ progress }) => progress.completed === 1)
    const cancelling = await client.batches.cancel(id)
    expect(cancelling).toMatchObject({ id, status: 'cancelling' })
    const batch = await batches.ended(id)
    expect(batch).toMatchObject({ status: 'cancelled', request_counts: { total: 3, completed: 1 } })
    const { output, error } = await batches.results(batch)
    expect(output.map(({ custom_id }) => custom_id)).toEqual(['line-0'])
    expect(error.map(({ custom_id }) => custom_id).toSorted()).toEqual(['line-1', 'line-2'])
    const refusal = await client.batches.cancel(id).catch((problem: unknown) => problem)
    expect(refusal).toMatchObject({ status: 400, code: 'batch_ended', type: 'invalid_request_error' })
    const missing = await client.batches.retrieve('batch_none').catch((problem: unknown) => problem)
    expect(missing).toMatchObject({ status: 404, code: 'not_found' })
  })
})

test('both SDKs visit each of 120 batches once, also while new ones are made', async () => {
  const own = await gateway.tenantKey('many-batches')
  // Their line is none of their endpoint: they fail without a call.
  const { id: fileId } = await batchesOf(gateway, own).upload([inputLine('only', { url: '/v1/embeddings' })])
  const create = () => batchesOf(gateway, own).create(fileId)
  const made = new Set((await Promise.all(Array.from({ length: 120 }, create))).map(({ id }) => id))
  for (const { make } of SDKS) {
    const client = make({ baseURL: `${gateway.url}/v1`, apiKey: own, maxRetries: 0 })
    const seen: string[] = []
    for await (const { id } of client.batches.list({ limit: 50 })) {
      // One that is new stands before all that come.
      if (seen.length === 50) await create()
      seen.push(id)
    }
    expect(new Set(seen).size).toBe(seen.length)
    expect([...made].filter((id) => !seen.includes(id))).toEqual([])
  }
})

test('lines of all endpoints, without a file and each with its own key, make one batch', async () => {
  provider.answer(({ path }) => {
    if (path.endsWith('/embeddings')) {
      const body = { object: 'list', model: 'e', data: [{ object: 'embedding', index: 0, embedding: [0.5] }] }
      return { kind: 'reply', status: 200, body }
    }
    return completion('chatted')
  })
  const [first, second] = [freshKey('first'), freshKey('second')]
  const { method: _, ...inline } = inputLine('chat', { url: undefined, ...keyed(first, 'openai/gpt-test') })
  const answer = await gateway.call('POST', '/v1/batches', {
    body: {
      endpoint: '*',
      completion_window: '1h',
      ordered_output: true,
      requests: [
        { ...inline, url: '/v1/chat/completions' },
        {
          custom_id: 'embed',
          url: '/v1/embeddings',
          body: { model: 'mine', input: 'x' },
          ...keyed(second, 'openai/e'),
        },
      ],
    },
  })
  expect(answer.status, answer.text).toBe(200)
  const batches = batchesOf(gateway)
  const batch = await batches.ended(Batch.parse(answer.json).id)
  const { output, error } = await batches.results(batch)
  expect(error).toEqual([])
  expect(output.map(({ custom_id }) => custom_id)).toEqual(['chat', 'embed'])
  const called = new Map(provider.ledger.map(({ key, path }) => [key, path]))
  expect(called).toEqual(
    new Map([
      [first, '/v1/chat/completions'],
      [second, '/v1/embeddings'],
    ]),
  )
  expect(provider.ledger.length).toBe(2)
})

test('what failed is run again with a fresh key, and nothing else', async () => {
  const bad = freshKey('bad')
  provider.answer((call) =>
    call.key === bad && /[13]/.test(lineOf(call)) ? failure(401, 'invalid_api_key') : completion('ok'),
  )
  const batches = batchesOf(gateway)
  const lines = inputLines(5).map((line, number) => ({
    ...line,
    user_config: config(number % 2 === 1 ? bad : freshKey()),
  }))
  const first = await batches.ended((await batches.start(lines)).id)
  expect(first.request_counts).toEqual({ total: 5, completed: 3, failed: 2 })
  const refused = await batches.retry(first.id)
  expect([refused.status, refused.json]).toMatchObject([400, { error: { code: 'credentials_required' } }])
  provider.ledger.length = 0
  const good = freshKey('good')
  const answer = await batches.retry(first.id, { user_config: config(good) })
  expect(answer.status, answer.text).toBe(200)
  const second = await batches.ended(Batch.parse(answer.json).id)
  expect(second).toMatchObject({ retry_of: first.id, request_counts: { total: 2, completed: 2, failed: 0 } })
  expect(provider.ledger.map((call) => `${lineOf(call)} ${call.key}`).toSorted()).toEqual([
    `line-1 ${good}`,
    `line-3 ${good}`,
  ])
})

test('a webhook hears of the begin and the end of its batch, signed', async () => {
  const batches = batchesOf(gateway)
  const events = ['batch.in_progress', 'batch.completed']
  const { id } = await batches.start(inputLines(2), {
    user_config: config(),
    metadata: { order: '7' },
    webhook: { url: receiver.url, secret: SECRET, events },
  })
  await eventually('both are told', () => receiver.received.length >= 2)
  const client = openaiClient(gateway.url, 'unused')
  const told = new Map<string, object>()
  for (const { text, headers } of receiver.received) {
    const event = await client.webhooks.unwrap(text, headers, SECRET)
    expect(event.id).toBe(headers['webhook-id'])
    told.set(event.type, event.data)
  }
  expect([...told.keys()].toSorted()).toEqual(events.toSorted())
  const batch = await batches.read(id)
  expect(told.get('batch.completed')).toMatchObject({
    id,
    object: 'batch',
    status: 'completed',
    metadata: { order: '7' },
    request_counts: { total: 2, completed: 2, failed: 0 },
    output_file_id: batch.output_file_id,
    error_file_id: null,
  })
})

test.each(['failed', 'cancelled'] as const)('a batch that has %s is told as that', async (status) => {
  provider.answer(() => ({ kind: 'hang' }))
  const batches = batchesOf(gateway)
  const lines = status === 'failed' ? [{ ...inputLine('a'), url: '/v1/embeddings' }] : [inputLine('a')]
  const { id } = await batches.start(lines, { user_config: config(), webhook: { url: receiver.url } })
  if (status === 'cancelled') {
    await batches.when('runs', id, (batch) => batch.status === 'in_progress')
    await batches.cancel(id)
  }
  await eventually('it is told', () => receiver.received.length > 0)
  expect(receiver.received[0]?.event).toMatchObject({ type: `batch.${status}`, data: { id, status } })
})

test.skipIf(reason)('batches work with the official Python SDK as its users write them', async () => {
  provider.answer((call) => {
    if (call.text.includes('hang')) return { kind: 'hang' }
    return call.text.includes('bad-2') ? failure(400, 'bad_request') : completion('ok')
  })
  const key = await gateway.tenantKey('python')
  const run = startProcess(PYTHON, [SCRIPT], {
    env: {
      ...environment(),
      GATEWAY_KEY: key,
      GATEWAY_URL: gateway.url,
      USER_CONFIG: JSON.stringify(config()),
    },
  })
  expect(await run.ended(), run.output()).toBe(0)
  expect(JSON.parse(run.output().trim())).toEqual({
    file: ['file', 'batch', 'processed', 'lines.jsonl'],
    batch: ['batch', 'completed', { from: 'python' }, { total: 3, completed: 2, failed: 1 }],
    output: ['good-1', 'good-3'],
    error: [['bad-2', 400]],
    cancel: 'cancelling',
    cancelled: 'cancelled',
    again: [400, 'batch_ended'],
    list: true,
    deleted: true,
  })
})
