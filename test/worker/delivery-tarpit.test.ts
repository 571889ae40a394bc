import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, expect, test } from 'vitest'
import { atUrl, numbered } from '../support/deliveries.ts'
import { eventually } from '../support/eventually.ts'
import { testStore } from '../support/store.ts'
import { testWebhooks } from '../support/webhooks.ts'

const TARGETS = 100
const SENT = 150
// For the noise of the machine, of which both sides have their part. Where a tarpit takes what others need, they wait for as
// long as it hangs, whenever it is measured: so one quiet measure of some is enough.
const SLACK_MS = 20
const MEASURES_MAX = 5

const closing: { close: () => Promise<void> }[] = []
afterEach(async () => {
  for (const opened of closing.splice(0).toReversed()) await opened.close()
})

/** The receivers of one installation. The one of the tarpit never answers. */
async function startReceivers() {
  const cameAt = new Map<number, number>()
  const tarpit = { hanging: 0, came: 0 }

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk as Buffer)
    const { number } = JSON.parse(Buffer.concat(chunks).toString()) as { number: number }
    if (request.url === '/tarpit') {
      tarpit.hanging += 1
      tarpit.came += 1
      response.once('close', () => (tarpit.hanging -= 1))
      return
    }
    cameAt.set(number, performance.now())
    response.writeHead(200).end()
  }

  const server = createServer((request, response) => void serve(request, response))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  closing.push({
    async close() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  })
  const { port } = server.address() as AddressInfo
  return { base: `http://127.0.0.1:${port}`, cameAt, tarpit }
}

/** An installation with a worker, whose tenant has a hundred targets, and how long each of its deliveries takes to come. */
async function startInstallation() {
  const store = testStore()
  closing.push({ close: () => store.cleanup() })
  const { base, cameAt, tarpit } = await startReceivers()
  const options = { timeoutMs: 1_500, leaseMs: 3_500, breakerMs: 200, slots: 40 }
  const webhooks = testWebhooks(store, options)
  closing.push(webhooks, webhooks.startWorker())
  const many = numbered(store, webhooks, (number) => atUrl(`${base}/${number % (TARGETS - 1)}`))
  const madeAt: number[] = []
  return {
    tarpit,
    tarpitDeliveries: numbered(store, webhooks, () => atUrl(`${base}/tarpit`), { name: 'tarpit' }),
    async send(): Promise<void> {
      madeAt.push(performance.now())
      await many.make(1)
    },
    /** Of the newest. */
    async p99Ms(): Promise<number> {
      await eventually('all came', () => cameAt.size === madeAt.length)
      const waitsMs = madeAt.map((at, number) => (cameAt.get(number) ?? Infinity) - at)
      return waitsMs.slice(-SENT).toSorted((a, b) => a - b)[Math.floor(SENT * 0.99)] ?? 0
    },
  }
}

test("a tarpit among a tenant's 100 targets delays the others' deliveries by less than a tenth, at the 99th percentile", async () => {
  // Two at once in one process, so that whatever else the machine does delays both.
  const [without, beside] = [await startInstallation(), await startInstallation()]
  await beside.tarpitDeliveries.make(300)
  await eventually('it hangs', () => beside.tarpit.hanging > 0)

  async function measure() {
    for (let count = 0; count < SENT; count += 1) {
      await without.send()
      await beside.send()
    }
    return { without: await without.p99Ms(), beside: await beside.p99Ms() }
  }
  const isFair = (one: Awaited<ReturnType<typeof measure>>) => one.beside < 1.1 * one.without + SLACK_MS

  const measures = [await measure()]
  while (!measures.some(isFair) && measures.length < MEASURES_MAX) measures.push(await measure())
  expect(measures).toContainEqual(expect.toSatisfy(isFair))
  // Ten at first; then it is closed, and gets a probe now and then.
  expect(beside.tarpit.came).toBeGreaterThanOrEqual(10)
  expect(beside.tarpit.came).toBeLessThan(40)
})
