import type { Response, ResponseStreamEvent } from 'openai/resources/responses/responses'
import { describe, expect, test } from 'vitest'
import { openaiClient, SDKS } from '../support/clients.ts'
import { eventually, gate } from '../support/eventually.ts'
import { chunks, completion, failure, type LedgerEntry } from '../support/provider.ts'
import { ownConfig } from '../support/requests.ts'
import { freshKey, gateway, provider, useGateway } from '../support/stage.ts'

useGateway({ answer: answerNatively })

/** An upstream that has the Responses API itself. */
const native = () => ownConfig({ url: provider.url, key: freshKey() }, { num_retries: 0 })
/** One that has chat completions only. */
const chatOnly = () =>
  ownConfig({ url: provider.url, key: freshKey(), model: 'hosted_vllm/m' }, { num_retries: 0 })

const upstream = (text: string, more: object = {}) => ({
  id: 'resp_upstream',
  object: 'response',
  created_at: 1,
  status: 'completed',
  error: null,
  incomplete_details: null,
  model: 'test-model',
  output: [
    {
      id: 'msg_1',
      type: 'message',
      role: 'assistant',
      status: 'completed',
      content: [{ type: 'output_text', text, annotations: [] }],
    },
  ],
  parallel_tool_calls: true,
  tool_choice: 'auto',
  tools: [],
  usage: {
    input_tokens: 3,
    output_tokens: 2,
    total_tokens: 5,
    input_tokens_details: { cached_tokens: 0 },
    output_tokens_details: { reasoning_tokens: 0 },
  },
  vendor: 'kept',
  ...more,
})

function eventsOf(text: string): string[] {
  const response = upstream(text)
  const item = response.output[0]
  const part = item?.content[0]
  const place = { item_id: 'msg_1', output_index: 0 }
  const list: [string, object][] = [
    ['response.created', { response: { ...response, status: 'in_progress', output: [], usage: null } }],
    [
      'response.output_item.added',
      { output_index: 0, item: { ...item, status: 'in_progress', content: [] } },
    ],
    ['response.content_part.added', { ...place, content_index: 0, part: { ...part, text: '' } }],
    ['response.output_text.delta', { ...place, content_index: 0, delta: text, logprobs: [] }],
    ['response.output_text.done', { ...place, content_index: 0, text, logprobs: [] }],
    ['response.content_part.done', { ...place, content_index: 0, part }],
    ['response.output_item.done', { output_index: 0, item }],
    ['response.completed', { response }],
  ]
  return list.map(
    ([type, fields], number) =>
      `event: ${type}\ndata: ${JSON.stringify({ type, sequence_number: number, ...fields })}\n\n`,
  )
}

function answerNatively({ path, body }: LedgerEntry) {
  if (path !== '/v1/responses') return failure(404, 'unexpected_path')
  if (body['stream'] === true) return { kind: 'stream' as const, events: eventsOf('Hello') }
  return { kind: 'reply' as const, status: 200, body: upstream('Hello') }
}

describe.each(SDKS)('$name, unmodified', ({ make }) => {
  const client = () => make({ baseURL: `${gateway.url}/v1`, apiKey: gateway.masterKey, maxRetries: 0 })
  const create = (body: object) => client().responses.create(body as never) as unknown as Promise<Response>

  test.each([
    ['that the provider has itself', native],
    ['by way of chat completions', chatOnly],
  ])('creates, retrieves and deletes a response %s', async (_how, config) => {
    if (config === chatOnly) provider.answer(() => completion('Hello'))
    const made = await create({ model: 'mine', input: 'Hi', user_config: config() })
    expect(made.id).toMatch(/^resp_[0-9a-f]{40}$/)
    expect(made.output_text).toBe('Hello')
    const again = (await client().responses.retrieve(made.id)) as Response
    expect({ id: again.id, text: again.output_text }).toEqual({ id: made.id, text: 'Hello' })
    const items = await client().responses.inputItems.list(made.id)
    expect(items.data).toMatchObject([{ role: 'user', content: [{ type: 'input_text', text: 'Hi' }] }])
    await client().responses.delete(made.id)
    await expect(client().responses.retrieve(made.id)).rejects.toMatchObject({ status: 404 })
  })

  test.each([
    ['that the provider has itself', native],
    ['by way of chat completions', chatOnly],
  ])('.stream() reads a stream %s', async (_how, config) => {
    if (config === chatOnly) provider.answer(() => chunks('Hel', 'lo'))
    const stream = client().responses.stream({ model: 'mine', input: 'Hi', user_config: config() } as never)
    const types: string[] = []
    for await (const event of stream as AsyncIterable<ResponseStreamEvent>) types.push(event.type)
    const final = (await stream.finalResponse()) as Response
    expect(final.output_text).toBe('Hello')
    expect(final.id).toMatch(/^resp_[0-9a-f]{40}$/)
    expect([types[0], types.at(-1)]).toEqual(['response.created', 'response.completed'])
    // What was told is what is kept.
    expect(((await client().responses.retrieve(final.id)) as Response).output_text).toBe('Hello')
  })

  test('works in the background: queued at once, then done; cancelled when asked', async () => {
    const held = gate()
    provider.answer((entry) => ({ ...answerNatively(entry), until: held.opened }))
    const body = { model: 'mine', input: 'Hi', background: true }
    const made = await create({ ...body, user_config: native(), metadata: { a: 'b' } })
    expect(made).toMatchObject({ status: 'queued', background: true, output: [], metadata: { a: 'b' } })
    const other = await create({ ...body, user_config: native() })
    await eventually('both are asked', () => provider.ledger.length === 2)
    // The provider must not put it off once more.
    expect(provider.ledger[0]?.body).not.toHaveProperty('background')
    expect((await client().responses.cancel(other.id)).status).toBe('cancelled')
    held.open()
    await eventually(
      'it is done',
      async () => ((await client().responses.retrieve(made.id)) as Response).status === 'completed',
    )
    expect(((await client().responses.retrieve(other.id)) as Response).status).toBe('cancelled')
  })
})

test('a stream in the background goes on when its reader leaves, and is taken up behind what was read', async () => {
  const client = openaiClient(gateway.url, gateway.masterKey)
  const held = gate()
  const events = eventsOf('Hello')
  provider.answer(() => ({
    kind: 'stream',
    events: [...events.slice(0, 4), held.opened, ...events.slice(4)],
  }))
  const body = { model: 'mine', input: 'Hi', background: true, stream: true, user_config: native() }
  const stream = (await client.responses.create(
    body as never,
  )) as unknown as AsyncIterable<ResponseStreamEvent>
  let id = ''
  let last = -1
  for await (const event of stream) {
    if (event.type === 'response.created') id = event.response.id
    last = event.sequence_number
    if (last === 3) break
  }
  held.open()
  const rest: number[] = []
  const resumed = await client.responses.retrieve(id, { stream: true, starting_after: last })
  for await (const event of resumed) rest.push(event.sequence_number)
  expect(rest).toEqual([4, 5, 6, 7])
  const all: number[] = []
  for await (const event of await client.responses.retrieve(id, { stream: true }))
    all.push(event.sequence_number)
  expect(all).toEqual([0, 1, 2, 3, 4, 5, 6, 7])
})

test('the provider’s bytes are kept but for the id, which is ours wherever it is told', async () => {
  const answer = await gateway.call('POST', '/v1/responses', {
    body: { model: 'mine', input: 'Hi', user_config: native() },
  })
  const id = `resp_${answer.headers.get('x-job-id')?.slice(4)}`
  expect(answer.text).toBe(JSON.stringify(upstream('Hello')).replace('resp_upstream', id))
  const streamed = await gateway.call('POST', '/v1/responses', {
    body: { model: 'mine', input: 'Hi', stream: true, user_config: native() },
  })
  const streamedId = `resp_${streamed.headers.get('x-job-id')?.slice(4)}`
  expect(streamed.text).toBe(eventsOf('Hello').join('').replaceAll('resp_upstream', streamedId))
})

test('a response goes on from one before it, at any provider: it is given the whole conversation', async () => {
  const first = await askMine({ input: 'My name is Ada', user_config: native() })
  const { id } = first.json as Response
  provider.answer(() => completion('You are Ada'))
  const second = await askMine({ input: 'Who am I?', previous_response_id: id, user_config: chatOnly() })
  expect(second.status).toBe(200)
  expect(provider.ledger.at(-1)?.body['messages']).toMatchObject([
    { role: 'user' },
    { role: 'assistant' },
    { role: 'user' },
  ])
  expect(JSON.stringify(provider.ledger.at(-1)?.body)).toContain('My name is Ada')
  // And on from there: the second's own input holds the first.
  const third = await askMine({
    input: 'Sure?',
    previous_response_id: (second.json as Response).id,
    user_config: chatOnly(),
  })
  expect(third.status).toBe(200)
  expect(provider.ledger.at(-1)?.body['messages']).toHaveLength(5)
})

test('a provider’s own previous_response_id goes to it as it is', async () => {
  await gateway.call('POST', '/v1/responses', {
    body: { model: 'mine', input: 'Hi', previous_response_id: 'resp_theirs', user_config: native() },
  })
  expect(provider.ledger[0]?.body).toMatchObject({ previous_response_id: 'resp_theirs' })
})

test('another tenant’s response is not there: not to read, go on from, cancel, delete or list', async () => {
  const made = await gateway.call('POST', '/v1/responses', {
    body: { model: 'mine', input: 'Hi', user_config: native() },
  })
  const { id } = made.json as Response
  const key = await gateway.tenantKey('other')
  for (const [method, path] of [
    ['GET', ''],
    ['POST', '/cancel'],
    ['DELETE', ''],
    ['GET', '/input_items'],
    ['GET', '?stream=true'],
  ] as const) {
    expect((await gateway.call(method, `/v1/responses/${id}${path}`, { key })).status, path).toBe(404)
  }
  const body = { model: 'mine', input: 'x', previous_response_id: id, user_config: native() }
  expect(await gateway.call('POST', '/v1/responses', { body, key })).toMatchObject({
    status: 400,
    json: { error: { param: 'previous_response_id' } },
  })
})

const post = (more: object) => askMine({ user_config: native(), ...more })
test('what is not kept, or can’t be, is a clear 400; a failed one in the background says why', async () => {
  expect(await post({})).toMatchObject({ status: 400, json: { error: { param: 'input' } } })
  expect(await post({ input: 'x', background: true, store: false })).toMatchObject({
    status: 400,
    json: { error: { param: 'store' } },
  })
  const unkept = (await post({ input: 'x', store: false })).json as Response
  expect((await gateway.call('GET', `/v1/responses/${unkept.id}/input_items`)).status).toBe(400)
  provider.answer(() => failure(400, 'bad_thing'))
  const { id } = (await post({ input: 'x', background: true })).json as Response
  const failed = await eventually('it failed', async () => {
    const { json } = await gateway.call('GET', `/v1/responses/${id}`)
    return (json as Response).status === 'failed' && json
  })
  expect(failed).toMatchObject({ error: { code: 'bad_thing' } })
})

function askMine(more: object) {
  return gateway.call('POST', '/v1/responses', { body: { model: 'mine', ...more } })
}
