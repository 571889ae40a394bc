import { expect, test } from 'vitest'
import { eventually, gate } from '../support/eventually.ts'
import { chunks, completion, failure } from '../support/provider.ts'
import { ask, ownConfig } from '../support/requests.ts'
import { freshKey, gateway, provider, useGateway } from '../support/stage.ts'

useGateway()

const config = () => ownConfig({ url: provider.url, key: freshKey() }, { num_retries: 0 })
const streamed = () => gateway.submit({ ...ask(config()), stream: true })

type Told = {
  id: string
  event: string
  data: { job?: { status: string }; number?: number; chunks?: Chunk[] }
}
type Page = (Told['data'] & { id: string; type: string })[]
type Chunk = { choices: { delta: { content?: string } }[] }

/** Reads a job's events until one of them is as asked, or all are read. */
async function follow(id: string, query = '', headers: Record<string, string> = {}) {
  const response = await fetch(`${gateway.url}/v1/jobs/${id}/events${query}`, {
    headers: { authorization: `Bearer ${gateway.masterKey}`, ...headers },
  })
  const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader()
  let text = ''
  const told = (): Told[] =>
    [...text.matchAll(/id: (.*)\nevent: (.*)\ndata: (.*)\n\n/g)].map(
      ([, at = '', event = '', data = '']) => ({
        id: at,
        event,
        data: JSON.parse(data),
      }),
    )
  return {
    status: response.status,
    async until(isIt: (one: Told) => boolean = () => false): Promise<Told[]> {
      for (;;) {
        if (told().some(isIt)) return told()
        const { done = true, value = '' } = (await reader?.read()) ?? {}
        if (done) return told()
        text += value
      }
    },
    leave: () => reader?.cancel(),
  }
}

const contentOf = (told: readonly Told[]) =>
  told
    .flatMap(({ data }) => data.chunks ?? [])
    .map(({ choices }) => choices[0]?.delta.content ?? '')
    .join('')

test('a job’s events are a snapshot, the pieces as they come, its end', async () => {
  const held = gate()
  provider.answer(() => chunks('Hel', held.opened, 'lo'))
  const { id } = await streamed()
  const events = await follow(id)
  await events.until(
    ({ event, data }) => event === 'job.delta' && contentOf([{ id: '', event, data }]).includes('Hel'),
  )
  held.open()
  const told = await events.until()
  expect(told[0]).toMatchObject({ event: 'job.snapshot', id: '0' })
  expect(contentOf(told)).toBe('Hello')
  expect(told.slice(-2).map(({ event }) => event)).toEqual(['job.completed', 'end'])
  expect(told.at(-2)?.data.job?.status).toBe('completed')
})

test('after the death of its API process a reader goes on at another, where it was', async () => {
  const held = gate()
  provider.answer(() => chunks('Hel', held.opened, 'lo'))
  const { id } = await streamed()
  const first = await follow(id)
  const before = await first.until(({ data }) => contentOf([{ id: '', event: '', data }]).includes('Hel'))
  gateway.api.kill('SIGKILL')
  await gateway.api.ended()
  await gateway.replaceApi()
  held.open()
  const second = await follow(id, '', { 'last-event-id': before.at(-1)?.id ?? '' })
  const after = await second.until()
  expect(after[0]?.event).toBe('job.snapshot')
  expect(contentOf(before) + contentOf(after)).toBe('Hello')
})

test('an ended job tells all of it again, or what comes after a number; past its end there is nothing', async () => {
  provider.answer(() => chunks('a', 'b', 'c'))
  const { id } = await streamed()
  await gateway.ended(id)
  const all = await (await follow(id)).until()
  expect(contentOf(all)).toBe('abc')
  const deltas = all.filter(({ event }) => event === 'job.delta')
  const rest = await (await follow(id, `?starting_after=${deltas[0]?.data.number}`)).until()
  expect(contentOf(rest)).toBe(contentOf(all.slice(2)))
  expect((await follow(id, '', { 'last-event-id': all.at(-1)?.id ?? '' })).status).toBe(204)
  const page = await gateway.call('GET', `/v1/jobs/${id}/events`, { headers: { accept: 'application/json' } })
  const {
    data,
    last_id: last,
    has_more: more,
  } = page.json as { data: Page; last_id: string; has_more: boolean }
  expect(contentOf(data.map((one) => ({ id: one.id, event: one.type, data: one })))).toBe('abc')
  expect([data.at(-1)?.type, last, more]).toEqual(['job.completed', all.at(-1)?.id, false])
})

test('an event of several lines, or no JSON, stays within its delta', async () => {
  const odd = [
    'data: {"choices":\ndata: [{"delta":{"content":"x"}}]}\n\n',
    'data: hello\ndata: \ndata: event: end\n\n',
  ]
  const whole = chunks('y')
  provider.answer(() => ({ ...whole, events: [...odd, ...whole.events] }))
  const { id } = await streamed()
  await gateway.ended(id)
  const told = await (await follow(id)).until()
  expect(told.flatMap(({ data }) => data.chunks ?? [])).toEqual(
    expect.arrayContaining([{ choices: [{ delta: { content: 'x' } }] }, 'hello\n\nevent: end']),
  )
})

test('a job without a stream has its states', async () => {
  const held = gate()
  provider.answer(() => ({ ...completion('whole'), until: held.opened }))
  const { id } = await gateway.submit(ask(config()))
  const events = await follow(id)
  await eventually('it runs', async () => (await gateway.job(id)).status === 'in_progress')
  await events.until(({ event, data }) => event === 'job.in_progress' || data.job?.status === 'in_progress')
  held.open()
  expect((await events.until()).map(({ event }) => event).slice(-2)).toEqual(['job.completed', 'end'])
})

test('a failed job ends with job.failed; another tenant’s is a 404; a wrong Last-Event-ID a 400', async () => {
  provider.answer(() => failure(400, 'bad_thing'))
  const { id } = await streamed()
  expect((await (await follow(id)).until()).at(-2)).toMatchObject({ event: 'job.failed' })
  const key = await gateway.tenantKey('other')
  expect((await gateway.call('GET', `/v1/jobs/${id}/events`, { key })).status).toBe(404)
  expect((await gateway.call('GET', '/v1/jobs/job_x/events')).status).toBe(404)
  const wrong = await gateway.call('GET', `/v1/jobs/${id}/events`, { headers: { 'last-event-id': 'x' } })
  expect(wrong).toMatchObject({ status: 400, json: { error: { param: 'Last-Event-ID' } } })
})
