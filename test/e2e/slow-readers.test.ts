import { readFileSync } from 'node:fs'
import { request, type IncomingMessage } from 'node:http'
import { Anthropic } from '@anthropic-ai/sdk'
import { afterEach, describe, expect, test } from 'vitest'
import type { Job } from '../../shared/schemas/job.ts'
import { openaiClient } from '../support/clients.ts'
import { eventually, gate } from '../support/eventually.ts'
import { chunks, completion } from '../support/provider.ts'
import { ask, ownConfig } from '../support/requests.ts'
import { freshKey, gateway, provider, useGateway } from '../support/stage.ts'

/** More than the sockets of both sides hold. */
const PIECES = 256
const PIECE_BYTES = 64 * 1024
const READERS = 4

let open: IncomingMessage[] = []

useGateway({ env: { GATEWAY_WHEN_CLIENT_LEAVES: 'cancel', GATEWAY_STREAM_HEARTBEAT_MS: '100' } })
afterEach(() => {
  for (const one of open) one.destroy()
  open = []
})

const config = (params: object = {}) =>
  ownConfig({ url: provider.url, key: freshKey(), ...params }, { num_retries: 0 })

/** A call whose answer nobody reads until the test does. */
function call(path: string, body?: object): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const headers = { authorization: `Bearer ${gateway.masterKey}`, 'content-type': 'application/json' }
    const made = request(gateway.url + path, { method: body ? 'POST' : 'GET', headers }, (response) => {
      open.push(response)
      resolve(response)
    })
    made.once('error', reject)
    made.end(body && JSON.stringify(body))
  })
}

async function readAll(response: IncomingMessage): Promise<string> {
  response.setEncoding('utf8')
  let text = ''
  for await (const piece of response) text += String(piece)
  return text
}

/** Resident memory of the API process, in bytes. */
function memoryOf(pid: number): number {
  return Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) * 1024
}

const completed = async () => {
  // By the list, whose entries hold no answers.
  const { json } = await gateway.call('GET', '/v1/jobs?limit=100&status=completed')
  return (json as { data: Job[] }).data.length
}

test.skipIf(process.platform !== 'linux')(
  'who does not read holds up nobody and takes no memory, and gets every byte when he does',
  async () => {
    const answer = chunks(...Array.from({ length: PIECES }, (_, at) => `${at}:`.padEnd(PIECE_BYTES, 'x')))
    provider.answer(() => answer)
    const slow = await call('/v1/chat/completions', { ...ask(config()), stream: true })
    await eventually('its job ends', async () => (await completed()) === 1)
    expect(provider.ledger[0]?.outcome).toBe('replied')
    const text = withoutHeartbeats(await readAll(slow))
    expect(text === sentBy(answer)).toBe(true)

    const before = memoryOf(gateway.api.pid)
    for (let count = 0; count < READERS; count += 1) {
      await call('/v1/chat/completions', { ...ask(config()), stream: true })
    }
    await eventually('their jobs end', async () => (await completed()) === 1 + READERS)
    // What was collected late is in it; were the streams kept, it would be more than twice as much.
    expect(memoryOf(gateway.api.pid) - before).toBeLessThan(READERS * PIECES * PIECE_BYTES)
  },
)

test('a stream that waits for its turn says that it is there, in comments that no SDK minds', async () => {
  const held = gate()
  const shared = config({ max_parallel_requests: 1 })
  provider.answer(({ number }) =>
    number === 1 ? { ...completion('first'), until: held.opened } : chunks('Hi'),
  )
  await gateway.submit(ask(shared))
  await eventually('the place is taken', () => provider.open() === 1)
  const response = await call('/v1/chat/completions', { ...ask(shared), stream: true })
  const client = openaiClient(gateway.url, gateway.masterKey)
  const stream = client.chat.completions.stream(ask(shared) as never)
  const anthropic = new Anthropic({ baseURL: gateway.url, apiKey: gateway.masterKey, maxRetries: 0 })
  const message = anthropic.messages.stream({ ...ask(shared), max_tokens: 9 } as never)
  expect(response.statusCode).toBe(200)
  let text = ''
  response.setEncoding('utf8').on('data', (piece) => (text += String(piece)))
  await eventually('there were a few', () => (text.match(HEARTBEATS) ?? []).length >= 3)
  expect(withoutHeartbeats(text)).toBe('')
  held.open()
  await eventually('it is told', () => text.endsWith('data: [DONE]\n\n'))
  expect(withoutHeartbeats(text)).toBe(sentBy(chunks('Hi')))
  expect(await stream.finalContent()).toBe('Hi')
  expect(await message.finalText()).toBe('Hi')
})

const half = () => {
  const held = gate()
  provider.answer(() => chunks('half', held.opened, 'more'))
  return held
}
const jobOf = (response: IncomingMessage) => String(response.headers['x-job-id'])
/** What comes first may be a heartbeat, before the provider was asked. */
const seen = (response: IncomingMessage) => until(response, 'half')

describe('a client that leaves, where that cancels', () => {
  test('ends its own job, and the call to the provider', async () => {
    half()
    const response = await call('/v1/chat/completions', { ...ask(config()), stream: true })
    await seen(response)
    response.destroy()
    await eventually('the call is aborted', () => provider.ledger[0]?.outcome === 'left')
    expect(await gateway.ended(jobOf(response))).toMatchObject({
      status: 'cancelled',
      attempts: [{ outcome: 'aborted' }],
    })
  })

  test('does so before anything came, too', async () => {
    provider.answer(() => ({ kind: 'hang' }))
    const left = new AbortController()
    const body = { ...ask(config()), stream: true, job: { metadata: { mark: 'left-early' } } }
    const path = '/v1/chat/completions'
    const asked = gateway.call('POST', path, { body, signal: left.signal }).catch(() => undefined)
    await eventually('the provider is asked', () => provider.open() === 1)
    left.abort()
    await asked
    await eventually('the call is aborted', () => provider.ledger[0]?.outcome === 'left')
    await eventually('its job ends', async () => {
      const { json } = await gateway.call('GET', '/v1/jobs?metadata[mark]=left-early')
      return (json as { data: Job[] }).data[0]?.status === 'cancelled'
    })
  })

  test('ends no job of /v1/jobs, which was asked for to be read later', async () => {
    const held = half()
    const { id } = await gateway.submit({ ...ask(config()), stream: true })
    const response = await call(`/v1/jobs/${id}/events`)
    await seen(response)
    response.destroy()
    held.open()
    expect(await gateway.ended(id)).toMatchObject({ status: 'completed' })
  })

  test('ends no Response in the background', async () => {
    const held = half()
    const { user_config } = ask(config({ model: 'hosted_vllm/m' }))
    const body = { model: 'mine', input: 'Hi', background: true, stream: true, user_config }
    const response = await call('/v1/responses', body)
    await seen(response)
    response.destroy()
    held.open()
    expect(await gateway.ended(jobOf(response))).toMatchObject({ status: 'completed' })
  })

  test('ends no job that another call with its idempotency key made', async () => {
    const held = half()
    const body = { ...ask(config()), stream: true, job: { idempotency_key: 'once' } }
    const first = await call('/v1/chat/completions', body)
    const second = await call('/v1/chat/completions', body)
    expect(jobOf(second)).toBe(jobOf(first))
    await seen(second)
    second.destroy()
    held.open()
    expect(await readAll(first)).toContain('[DONE]')
  })
})

async function replaceApi(): Promise<void> {
  gateway.api.kill('SIGKILL')
  await gateway.api.ended()
  await gateway.replaceApi()
}
/** What comes until this does. */
async function until(response: IncomingMessage, part: string): Promise<string> {
  let text = ''
  response.setEncoding('utf8').on('data', (piece) => (text += String(piece)))
  response.on('error', () => {})
  await eventually(`${part} is told`, () => text.includes(part))
  return text
}

describe('an API process that is killed while it streams', () => {
  test('a chat stream goes on at another, by its job’s events', async () => {
    const held = gate()
    provider.answer(() => chunks('Hel', held.opened, 'lo'))
    const response = await call('/v1/chat/completions', { ...ask(config()), stream: true })
    const read = [...(await until(response, '"Hel"')).matchAll(/^data: (.*)$/gm)].map(([, data]) => data)
    await replaceApi()
    held.open()
    // Chunks of a chat have no numbers: whoever goes on leaves out as many as he has.
    const events = await readAll(await call(`/v1/jobs/${String(response.headers['x-job-id'])}/events`))
    const told = [...events.matchAll(/"chunks":(\[.*\])}$/gm)].flatMap(([, list = '[]']) => JSON.parse(list))
    expect(told.slice(0, read.length).map((chunk) => JSON.stringify(chunk))).toEqual(read)
    expect(told[read.length]).toMatchObject({ choices: [{ delta: { content: 'lo' } }] })
    expect(events).toContain('event: job.completed')
    expect(provider.ledger).toHaveLength(1)
  })

  test('a Response goes on at another, behind the last event that was read', async () => {
    const held = gate()
    provider.answer(() => chunks('Hel', held.opened, 'lo'))
    const { user_config } = ask(config({ model: 'hosted_vllm/m' }))
    const body = { model: 'mine', input: 'Hi', background: true, stream: true, user_config }
    const told = await until(await call('/v1/responses', body), '"Hel"')
    const id = /"id":"(resp_[0-9a-f]+)"/.exec(told)?.[1] ?? ''
    const last = numbersOf(told).at(-1) ?? -1
    await replaceApi()
    held.open()
    const rest = await readAll(await call(`/v1/responses/${id}?stream=true&starting_after=${last}`))
    const numbers = numbersOf(rest)
    expect(numbers).toEqual(numbers.map((_, at) => last + 1 + at))
    expect(rest).toContain('"delta":"lo"')
    expect(rest).toContain('event: response.completed')
  })
})

function numbersOf(events: string): number[] {
  return [...events.matchAll(/"sequence_number":(\d+)/g)].map(([, number]) => Number(number))
}

const HEARTBEATS = /^:.*\n\n/gm

/** Of a stream without pauses. */
function sentBy({ events }: ReturnType<typeof chunks>): string {
  return events.filter((one) => typeof one === 'string').join('')
}

function withoutHeartbeats(events: string): string {
  return events.replaceAll(HEARTBEATS, '')
}
