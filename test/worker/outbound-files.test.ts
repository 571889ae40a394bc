import { afterEach, expect, test } from 'vitest'
import { createEgressPolicy } from '../../shared/egress.ts'
import { createOutbound } from '../../worker/outbound.ts'
import { startProvider } from '../support/provider.ts'

const closers: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close()
})

const OPENED = createEgressPolicy({ allowedCidrs: ['127.0.0.1/32'] })
const TIMEOUTS = { connectMs: 60_000, firstByteMs: 60_000, idleMs: 60_000, totalMs: 60_000 }

function outboundWith(options: Partial<Parameters<typeof createOutbound>[0]> = {}) {
  const outbound = createOutbound({ policy: OPENED, ...options })
  closers.push(() => outbound.close())
  return outbound
}

async function server() {
  const started = await startProvider()
  closers.push(() => started.close())
  return started
}

const request = (url: string) => {
  const { signal } = new AbortController()
  return { url, headers: {}, timeouts: TIMEOUTS, maxResponseBytes: 100_000, signal }
}

test('a network that is open to calls is not open to files, nor is a socket that a call has left there', async () => {
  const { url, ledger } = await server()
  const outbound = outboundWith()
  await outbound.post({ ...request(url), body: '{}' })
  await expect(outbound.get(request(`${url}/secret.txt`))).rejects.toMatchObject({ kind: 'refused' })
  const { port } = new URL(url)
  await expect(outbound.get(request(`http://localhost:${port}/`))).rejects.toMatchObject({ kind: 'refused' })
  expect(ledger.map(({ method }) => method)).toEqual(['POST'])
})

test('where files may lie is said apart', async () => {
  const { url, ledger } = await server()
  const outbound = outboundWith({ files: { policy: OPENED, allowedHosts: null } })
  expect(await outbound.get(request(`${url}/cat.png?size=2`))).toMatchObject({ status: 200 })
  expect(ledger).toMatchObject([{ method: 'GET', path: '/cat.png?size=2', text: '' }])
})

test('hosts that the operator allows to clients hold for files', async () => {
  const { url, port, ledger } = await server()
  const outbound = outboundWith({ files: { policy: OPENED, allowedHosts: [`127.0.0.1:${port}`] } })
  expect(await outbound.get(request(url))).toMatchObject({ status: 200 })
  const other = await server()
  await expect(outbound.get(request(other.url))).rejects.toMatchObject({ kind: 'refused' })
  expect([ledger.length, other.ledger.length]).toEqual([1, 0])
})
