import { afterEach, beforeEach, expect, test } from 'vitest'
import { eventually, gate } from '../support/eventually.ts'
import { startReceiver, type TestReceiver } from '../support/receiver.ts'
import { testStore, type TestStore } from '../support/store.ts'
import { testWebhooks, type TestWebhooks } from '../support/webhooks.ts'

// The worker of testWebhooks has 20 slots.
const TENANT_SLOTS = 10
let store: TestStore
let receiver: TestReceiver
let webhooks: TestWebhooks
const closing: { close: () => Promise<void> }[] = []
beforeEach(async () => {
  store = testStore()
  receiver = await startReceiver()
  webhooks = testWebhooks(store, { timeoutMs: 300_000, leaseMs: 302_000, slots: 2 * TENANT_SLOTS })
  closing.push({ close: () => store.cleanup() }, receiver, webhooks, webhooks.startWorker())
})
afterEach(async () => {
  for (const opened of closing.splice(0).toReversed()) await opened.close()
})

test("a tenant whose receivers hang leaves room for the others' deliveries, and no try of its own is lost", async () => {
  const hanging = await startReceiver()
  const held = gate()
  closing.push(hanging, { close: async () => held.open() })
  hanging.answer(async () => {
    await held.opened
    return 200
  })
  const jobIds: string[] = []
  for (let number = 0; number < 30; number += 1) {
    jobIds.push(await webhooks.endJob({ tenant: 'acme', webhook: { url: `${hanging.url}/${number}` } }))
  }
  await Promise.all(jobIds.map((jobId) => webhooks.announce(jobId)))
  await eventually('its slots are taken', () => hanging.received.length === TENANT_SLOTS)
  const other = await webhooks.endJob({ tenant: 'other', webhook: { url: receiver.url } })
  await webhooks.announce(other)
  await eventually("the other's came", () => receiver.received.length === 1)
  expect(hanging.received).toHaveLength(TENANT_SLOTS)

  held.open()
  for (const jobId of jobIds) {
    const delivery = await eventually('it is delivered', async () => {
      const read = await webhooks.deliveryLog.read('acme', webhooks.deliveryId(jobId))
      return read?.state === 'delivered' ? read : null
    })
    expect(delivery.attempts.map(({ number, statusCode }) => [number, statusCode])).toEqual([[1, 200]])
  }
  expect(hanging.received).toHaveLength(30)
})
