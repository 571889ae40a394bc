import { LLMock } from '@copilotkit/aimock'
import type { OpenAI } from 'openai'
import type { Response } from 'openai/resources/responses/responses'
import { eventually } from './eventually.ts'

const CITY = '{"city":"Bern"}'
const WEATHER = {
  type: 'object',
  properties: { city: { type: 'string' } },
  required: ['city'],
  additionalProperties: false,
}
/** How long each piece of "Slowly" takes: longer than a heartbeat of the gateway under test. */
const SLOW_MS = 120

/** What a script came to, step by step: the same whatever SDK and provider. `null`: the provider has it not. */
export const EXPECTED = {
  chat: 'Hello there',
  stream: { text: 'Hello there', counts: true },
  slow_stream: 'Well then',
  helper: 'Hello there',
  tools: { name: 'weather', arguments: CITY },
  tools_helper: { name: 'weather', arguments: CITY },
  tool_result: 'It is warm',
  json: { city: 'Bern' },
  embedding: [0.5, -0.25] as number[] | null,
  response: 'Hello there',
  response_helper: 'Hello there',
  background: ['queued', 'completed', 'Hello there'],
  cancelled: 'cancelled',
  failure: [400, 'BadRequestError', 'No such luck'],
}

/** aimock as a provider of every family, with what the script asks for. */
export async function startScriptedMock() {
  const held = Promise.withResolvers<void>()
  const mock = new LLMock({ port: 0, host: '127.0.0.1', journalMaxEntries: 0 })
  mock.on({ toolResultContains: '20 degrees' }, { content: 'It is warm' })
  mock.on({ userMessage: 'Weather' }, { toolCalls: [{ name: 'weather', arguments: CITY }] })
  mock.on({ userMessage: 'As JSON' }, { content: CITY })
  mock.on({ userMessage: 'Slowly' }, { content: 'Well then' }, { latency: SLOW_MS })
  mock.on({ userMessage: 'Never' }, async () => {
    await held.promise
    return { content: 'late' }
  })
  const error = { message: 'No such luck', type: 'invalid_request_error', code: 'unlucky' }
  mock.on({ userMessage: 'Fail' }, { error, status: 400 })
  mock.onEmbedding(/./, { embedding: [0.5, -0.25] })
  mock.on({ predicate: () => true }, { content: 'Hello there' })
  await mock.start()
  return {
    url: mock.url,
    async close() {
      held.resolve()
      await mock.stop()
    },
  }
}

/**
 * One program for an OpenAI SDK, as users write it.
 * @param body The model, and the config that the SDK has no type for.
 */
export async function runScript(
  client: OpenAI,
  body: { model: string; user_config: object },
  { hasEmbeddings }: { hasEmbeddings: boolean },
): Promise<typeof EXPECTED> {
  const ask = (content: string) => ({ ...body, messages: [{ role: 'user' as const, content }] })
  return {
    ...(await chats(client, ask)),
    ...(await toolsAndJson(client, ask)),
    embedding: hasEmbeddings ? await embedding(client, body) : null,
    ...(await responses(client, body)),
    failure: await failure(client, ask('Fail')),
  }
}

type Ask = (content: string) => { model: string; messages: { role: 'user'; content: string }[] }

async function chats(client: OpenAI, ask: Ask) {
  const whole = await client.chat.completions.create(ask('Hi'))
  const streamOptions = { include_usage: true }
  const stream = await client.chat.completions.create({
    ...ask('Hi'),
    stream: true,
    stream_options: streamOptions,
  })
  let text = ''
  let counts = false
  for await (const chunk of stream) {
    text += chunk.choices[0]?.delta.content ?? ''
    counts ||= Boolean(chunk.usage)
  }
  let slowText = ''
  for await (const { choices } of await client.chat.completions.create({ ...ask('Slowly'), stream: true }))
    slowText += choices[0]?.delta.content ?? ''
  return {
    chat: whole.choices[0]?.message.content ?? '',
    stream: { text, counts },
    slow_stream: slowText,
    helper: (await client.chat.completions.stream(ask('Hi')).finalContent()) ?? '',
  }
}

async function toolsAndJson(client: OpenAI, ask: Ask) {
  const tool = {
    type: 'function' as const,
    function: { name: 'weather', description: 'Tells the weather', parameters: WEATHER },
  }
  const asked = { ...ask('Weather'), tools: [tool] }
  const { choices } = await client.chat.completions.create(asked)
  const streamed = await client.chat.completions.stream(asked).finalMessage()
  const message = choices[0]?.message
  const call = message?.tool_calls?.[0]
  const goesOn = await client.chat.completions.create({
    ...asked,
    messages: [
      ...asked.messages,
      { role: 'assistant', content: message?.content ?? null, tool_calls: message?.tool_calls ?? [] },
      { role: 'tool', tool_call_id: call?.id ?? '', content: '20 degrees' },
    ],
  })
  const json = await client.chat.completions.create({
    ...ask('As JSON'),
    response_format: { type: 'json_schema', json_schema: { name: 'place', strict: true, schema: WEATHER } },
  })
  return {
    tools: calledOf(call),
    tools_helper: calledOf(streamed.tool_calls?.[0]),
    tool_result: goesOn.choices[0]?.message.content ?? '',
    json: JSON.parse(json.choices[0]?.message.content ?? ''),
  }
}

function calledOf(call: object | undefined) {
  const { name, arguments: given } = call && 'function' in call ? (call.function as Called) : NOT_CALLED // by the SDK's type
  return { name, arguments: given }
}

type Called = { name: string; arguments: string }
const NOT_CALLED: Called = { name: '', arguments: '' }

async function embedding(client: OpenAI, body: { model: string }): Promise<number[]> {
  const { data } = await client.embeddings.create({ ...body, input: 'Hi', encoding_format: 'float' })
  return data[0]?.embedding ?? []
}

async function responses(client: OpenAI, body: { model: string }) {
  const whole = await client.responses.create({ ...body, input: 'Hi' })
  const streamed = client.responses.stream({ ...body, input: 'Hi' })
  // Its type is another one in each of the SDKs.
  const helper = ((await streamed.finalResponse()) as Response).output_text
  const queued = await client.responses.create({ ...body, input: 'Hi', background: true })
  const done = await eventually('the response is done', async () => {
    const now = (await client.responses.retrieve(queued.id)) as Response
    return now.status === 'completed' && now
  })
  const never = await client.responses.create({ ...body, input: 'Never', background: true })
  await client.responses.cancel(never.id)
  const cancelled = await eventually('the response is cancelled', async () => {
    const now = (await client.responses.retrieve(never.id)) as Response
    return now.status === 'cancelled' && now
  })
  return {
    response: whole.output_text,
    response_helper: helper,
    background: [queued.status ?? '', done.status ?? '', done.output_text],
    cancelled: cancelled.status ?? '',
  }
}

async function failure(client: OpenAI, body: ReturnType<Ask>) {
  try {
    await client.chat.completions.create(body)
    return []
  } catch (error) {
    const { status, constructor, message } = error as Error & { status: number } // the SDK's APIError
    return [status, constructor.name, /No such luck/.exec(message)?.[0] ?? message]
  }
}
