import type { DeliveryInput, DeliveryTarget } from '../../shared/webhooks/delivery-record.ts'
import type { OutboundRequest, OutboundResponse } from '../../worker/exchange.ts'
import type { TestStore } from './store.ts'
import type { TestWebhooks } from './webhooks.ts'

// What is made in one step is of one age.
const AT_ONCE = 100

/** Makes deliveries of which only the number is told; the test says where they go. */
export function numbered(
  store: TestStore,
  webhooks: TestWebhooks,
  target: (number: number) => DeliveryTarget,
  { tenant = 'acme', name = tenant }: { tenant?: string; name?: string } = {},
) {
  let made = 0
  const idOf = (number: number) => store.ids.deliveryId(`evt_${name}${number}`, 'job')
  return {
    idOf,
    async make(count: number): Promise<void> {
      const from = made
      made += count
      for (let at = from; at < made; at += AT_ONCE) {
        const deliveries = Array.from(
          { length: Math.min(AT_ONCE, made - at) },
          (_, index): DeliveryInput => ({
            id: idOf(at + index),
            tenant,
            eventId: `evt_${name}${at + index}`,
            type: 'job.completed',
            target: target(at + index),
            body: JSON.stringify({ number: at + index }),
          }),
        )
        await webhooks.deliveries.create('job_many', { isNews: true, events: [], deliveries })
      }
    },
  }
}

/** A URL as a target of its own. */
export function atUrl(url: string): DeliveryTarget {
  return { kind: 'url', hook: { url, secret: 'a secret of this test' } }
}

/** A receiver that needs no socket: what it was sent, how many at once, and what it answers. */
export function fakeReceiver(answer: (sent: Sent) => Answer | Promise<Answer>) {
  const sent: Sent[] = []
  const atOnce = new Map<string, number>()
  const mostAtOnce = new Map<string, number>()

  function count(url: string, change: 1 | -1): void {
    const now = (atOnce.get(url) ?? 0) + change
    atOnce.set(url, now)
    mostAtOnce.set(url, Math.max(now, mostAtOnce.get(url) ?? 0))
  }

  return {
    sent,
    /** URL -> how many requests were open there at once. */
    mostAtOnce,
    post: async (request: OutboundRequest): Promise<OutboundResponse> => {
      const { number } = JSON.parse(String(request.body)) as { number: number }
      const one = { url: request.url, number, at: performance.now(), headers: request.headers }
      sent.push(one)
      count(one.url, 1)
      const { status, headers = {} } = await answer(one)
      count(one.url, -1)
      return { status, headers, body: Buffer.alloc(0) }
    },
  }
}

export type Sent = { url: string; number: number; at: number; headers: Record<string, string> }
type Answer = { status: number; headers?: Record<string, string> }
