import { expect, onTestFinished, test } from 'vitest'
import { eventually } from '../support/eventually.ts'
import { gateway, useGateway } from '../support/stage.ts'

const CALLERS = 20
/** From the answer that says so until no process takes the key: a message on a channel. What is remembered is good for 30 s. */
const NEWS_MS = 15_000

useGateway()

async function newKey() {
  const { json } = await gateway.call('POST', '/v1/admin/tenants/acme/keys', { body: {} })
  return json as { id: string; key: string }
}

test('a key that is revoked under load is refused from then on by every process, and others are not', async () => {
  const { api, url: first } = gateway
  onTestFinished(() => api.kill('SIGTERM'))
  await gateway.replaceApi()
  const urls = [first, gateway.url]
  await gateway.call('POST', '/v1/admin/tenants', { body: { id: 'acme' } })
  const [{ id, key: revoked }, { key: kept }] = [await newKey(), await newKey()]

  const answers: { key: string; url: string; startedAt: number; status: number }[] = []
  const over = new AbortController()
  const caller = async (number: number) => {
    const [key, url] = [number % 4 < 2 ? revoked : kept, urls[number % 2] ?? first]
    while (!over.signal.aborted) {
      const startedAt = performance.now()
      const answer = await fetch(`${url}/v1/models`, { headers: { authorization: `Bearer ${key}` } })
      await answer.arrayBuffer()
      answers.push({ key, url, startedAt, status: answer.status })
    }
  }
  const calling = Promise.all(Array.from({ length: CALLERS }, (_, number) => caller(number)))
  const seen = (key: string, url: string, status: number) =>
    answers.some((one) => one.key === key && one.url === url && one.status === status)
  await eventually('both processes take both keys', () =>
    urls.every((url) => seen(revoked, url, 200) && seen(kept, url, 200)),
  )
  expect((await gateway.call('DELETE', `/v1/admin/keys/${id}`)).status).toBe(200)
  const revokedAt = performance.now()
  await eventually('both processes refuse the one key', () => urls.every((url) => seen(revoked, url, 401)))
  const refusedAt = performance.now()
  await eventually('all have called some more', () => {
    const since = answers.filter(({ startedAt }) => startedAt > refusedAt)
    return urls.every((url) => since.filter((one) => one.url === url).length > 5 * CALLERS)
  })
  over.abort()
  await calling

  const late = answers.filter(({ key, startedAt }) => key === revoked && startedAt > revokedAt)
  const taken = late.filter(({ status }) => status === 200)
  expect(Math.max(0, ...taken.map(({ startedAt }) => startedAt - revokedAt))).toBeLessThan(NEWS_MS)
  for (const url of urls) {
    const statuses = late.filter((one) => one.url === url).map(({ status }) => status)
    // Once refused, refused for good: nothing that was on its way is remembered.
    expect(statuses.slice(statuses.indexOf(401) + CALLERS)).not.toContain(200)
  }
  expect(new Set(answers.filter(({ key }) => key === kept).map(({ status }) => status))).toEqual(
    new Set([200]),
  )
})
