import { setTimeout as pause } from 'node:timers/promises'
import { OpenAI } from 'openai'
import { z } from 'zod'
import { TERMINAL_STATUSES } from '../../shared/schemas/job.ts'
import { call, insist, type Answered } from './calls.ts'
import { followBatch, submitBatch, type BatchEnd } from './batch-load.ts'
import type { Fleet } from './fleet.ts'
import type { Inbox } from './inbox.ts'
import { configOf, EVERYTHING, nextOrder, type Kind, type Mix, type Order } from './order.ts'
import type { Random } from './random.ts'
import { answerTo, type Upstream } from './upstream.ts'

const TICK_MS = 25
const SDK_RETRIES = 5
const CALL_ID = 'x-litellm-call-id'

/** An order, and what its client knows of it. */
export type Sent = {
  order: Order
  /** Ids that a 2xx named; null: no such answer came. More than one is a fault. */
  ids: Set<string>
  /** `performance.now()` of its start, and of the first of these. */
  sentAt: number
  acceptedAt: number | null
  /** What came back of a call that waited: its own answer, another's, an error, or nothing. */
  answer: 'right' | 'wrong' | 'error' | 'none'
  answeredAt: number | null
  /** An id of a 2xx that could not be read right after. */
  ghosts: string[]
  batch: BatchEnd | null
}

export type LoadOptions = {
  fleet: Fleet
  upstream: Upstream
  inbox: Inbox
  random: Random
  name: string
  /** Orders a second, and how many may be under way at once. */
  rate: number
  atOnce?: number
  mix?: Mix
  /** Ends by itself after so many; it goes on unless given. */
  count?: number
}

const Named = z.looseObject({ id: z.string(), status: z.string() })

/** Sends orders at a steady rate, whatever becomes of them, until it is stopped. */
export function startLoad(options: LoadOptions) {
  const { fleet, upstream, inbox, random, name, rate, atOnce = 400, mix = EVERYTHING } = options
  const sent: Sent[] = []
  const underWay = new Set<Promise<void>>()
  const stopping = new AbortController()
  const runs: Record<Kind, (one: Sent) => Promise<void>> = {
    sync: ask,
    stream: ask,
    async: submit,
    keyed: submit,
    batch: runBatch,
  }
  async function send(): Promise<void> {
    const startedAt = performance.now()
    let held = 0
    while (!stopping.signal.aborted && sent.length < (options.count ?? Number.POSITIVE_INFINITY)) {
      const due = ((performance.now() - startedAt) / 1_000) * rate - held
      while (sent.length < due && sent.length < (options.count ?? Number.POSITIVE_INFINITY)) {
        // What nobody could send in time is not sent later in one go.
        if (underWay.size >= atOnce) held += 1
        if (underWay.size >= atOnce) break
        const order = nextOrder(random, sent.length, { name, tenants: fleet.tenants, mix })
        const one: Sent = {
          order,
          sentAt: performance.now(),
          ids: new Set(),
          acceptedAt: null,
          answer: 'none',
          answeredAt: null,
          ghosts: [],
          batch: null,
        }
        sent.push(one)
        void keep(runs[order.kind](one))
      }
      await pause(TICK_MS)
    }
  }

  /** Is under way until it is done, or failed. */
  async function keep(work: Promise<void>): Promise<void> {
    underWay.add(work)
    try {
      await work
    } catch {
      // A client whose gateway is broken: what it knows is in what was sent.
    } finally {
      underWay.delete(work)
    }
  }

  function accept(one: Sent, id: string): void {
    one.ids.add(id)
    one.acceptedAt ??= performance.now()
  }

  const bodyOf = (order: Order) => ({
    model: 'mine',
    messages: [{ role: 'user' as const, content: `<${order.mark}>` }],
    user_config: configOf(order, upstream.url),
    ...(order.customer === null ? {} : { customer: order.customer }),
  })
  const optionsOf = ({ mark, priority, delay, hasWebhook }: Order) => ({
    metadata: { mark },
    priority,
    ...(delay > 0 ? { delay } : {}),
    ...(hasWebhook ? { webhook: { url: inbox.url } } : {}),
  })

  /** A call that waits for its answer, by the official SDK, which tries again by itself. */
  async function ask(one: Sent): Promise<void> {
    const { order } = one
    const client = new OpenAI({
      baseURL: `${fleet.url(order.number)}/v1`,
      apiKey: fleet.keyOf(order.tenant),
      maxRetries: SDK_RETRIES,
      timeout: 120_000,
    })
    const job = { metadata: { mark: order.mark }, priority: order.priority }
    const request = { ...bodyOf(order), job }
    const noted = (headers: Headers) => {
      const id = headers.get(CALL_ID)
      if (id !== null) accept(one, id)
    }
    try {
      let text = ''
      if (order.kind === 'stream') {
        const { data, response } = await client.chat.completions
          .create({ ...request, stream: true })
          .withResponse()
        noted(response.headers)
        for await (const { choices } of data) text += choices[0]?.delta.content ?? ''
      } else {
        const { data, response } = await client.chat.completions.create(request).withResponse()
        noted(response.headers)
        text = data.choices[0]?.message.content ?? ''
      }
      one.answer = text === answerTo(order.mark) ? 'right' : 'wrong'
      one.answeredAt = performance.now()
    } catch (error) {
      one.answer = 'error'
      if (error instanceof OpenAI.APIError && error.headers) noted(error.headers)
    }
  }

  /** A job that is fetched later; with a key its client insists, without one it asks once. */
  async function submit(one: Sent): Promise<void> {
    const { order } = one
    const asked = { key: fleet.keyOf(order.tenant), api: order.number }
    const answer =
      order.kind === 'keyed'
        ? await submitKeyed(order)
        : await call(fleet, 'POST', '/v1/chat/completions', {
            ...asked,
            body: { ...bodyOf(order), job: optionsOf(order) },
            headers: { prefer: 'respond-async' },
          })
    const id = idOf(answer)
    if (id === null) return
    accept(one, id)
    if (order.number % 8 === 0) await lookFor(one, id)
    if (order.cancelAfterMs !== null) {
      await pause(order.cancelAfterMs)
      await call(fleet, 'POST', `/v1/jobs/${id}/cancel`, asked)
    }
    if (order.isFollowed) await follow(one, id)
  }

  function submitKeyed(order: Order): Promise<Answered> {
    return insist(fleet, 'POST', '/v1/jobs', {
      key: fleet.keyOf(order.tenant),
      api: order.number,
      body: { endpoint: '/v1/chat/completions', body: bodyOf(order), ...optionsOf(order) },
      headers: { 'idempotency-key': order.mark },
    })
  }

  async function lookFor(one: Sent, id: string): Promise<void> {
    const { order } = one
    const key = fleet.keyOf(order.tenant)
    const answer = await call(fleet, 'GET', `/v1/jobs/${id}`, { key, api: order.number + 1 })
    if (answer.status === 404 || answer.status === 410) one.ghosts.push(id)
  }

  async function follow({ order }: Sent, id: string): Promise<void> {
    for (let tries = 0; !stopping.signal.aborted; tries += 1) {
      const asked = { key: fleet.keyOf(order.tenant), api: order.number + tries }
      const answer = await call(fleet, 'GET', `/v1/jobs/${id}?wait=5`, asked).catch(() => null)
      const job = Named.safeParse(answer?.json).data
      if (job !== undefined && TERMINAL_STATUSES.has(job.status)) return
      if (answer?.status === 404 || answer?.status === 410) return
      if (answer?.status !== 200) await pause(200)
    }
  }

  async function runBatch(one: Sent): Promise<void> {
    const { order } = one
    const id = await submitBatch(fleet, order, {
      config: configOf(order, upstream.url),
      webhookUrl: order.hasWebhook ? inbox.url : null,
    })
    accept(one, id)
    one.batch = await followBatch(fleet, order, id)
  }

  // Only now: the first order is sent in this very turn.
  const running = send()

  return {
    sent,
    /** How many jobs, lines of batches among them, have been sent. */
    jobs: () => sent.reduce((sum, { order }) => sum + order.lines, 0),
    accepted: () =>
      sent.reduce((sum, { acceptedAt, order }) => sum + (acceptedAt === null ? 0 : order.lines), 0),
    /** Sends no more, and waits until every client has what it waits for, or gave up. */
    async stop(): Promise<void> {
      stopping.abort()
      await running
      await Promise.allSettled(underWay)
    },
    /** Sends the very same submit, with the very same key, once more. */
    submitAgain: ({ order }: Sent) => submitKeyed(order),
    /** Resolves when as many as were asked for have been sent. */
    allSent: running,
  }
}

export type Load = ReturnType<typeof startLoad>

function idOf({ status, json }: Answered): string | null {
  return status >= 200 && status < 300 ? (Named.safeParse(json).data?.id ?? null) : null
}
