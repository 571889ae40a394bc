import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import type { Attempt } from '../../shared/schemas/job.ts'
import { compareCalls } from '../chaos/audit.ts'
import { runOf } from '../chaos/options.ts'
import { EVERYTHING, nextOrder } from '../chaos/order.ts'
import { createRandom } from '../chaos/random.ts'
import { openSite, playScenario } from '../chaos/scenario.ts'
import { startProcess } from '../support/processes.ts'
import { environment } from '../support/redis-process.ts'
import { ownRedis } from '../support/redis.ts'

// The short form of `npm run chaos` (docs/chaos.md).

const { isPossible, reason } = ownRedis()
if (!isPossible) console.log(`skipped: ${reason}`)

const SEED = 7
const ROOT = fileURLToPath(new URL('../..', import.meta.url))

test.skipIf(!isPossible)(
  'two APIs and three workers under load, killed, frozen and cut off: each accepted job ends once, is told of once, called as often as its attempts say, and leaves nothing',
  { timeout: 600_000 },
  async () => {
    const run = { ...runOf({ seed: SEED, isLong: false, rate: 12 }), calmMs: 300 }
    const site = await openSite(run, {})
    try {
      const outcome = await playScenario(
        {
          name: 'short',
          about: 'one of each kind',
          faults: [
            'kill-worker',
            'restart-redis',
            'block-10s',
            'reset-all',
            'kill-api',
            'black-hole',
            'lose-locks',
          ],
        },
        run,
        site,
      )
      expect(outcome.broken).toEqual([])
      expect(outcome).toMatchObject({ lost: 0, ended: expect.any(Number) })
      expect(outcome.accepted).toBeGreaterThan(50)
      expect(outcome.ended).toBeGreaterThanOrEqual(outcome.accepted)
      expect(outcome.faults.length).toBeGreaterThanOrEqual(7)
    } finally {
      await site.close()
    }
  },
)

test('a proxy that is closed while a connection through it ends lets its process end', async () => {
  const script = `
    const { createServer, createConnection } = await import('node:net')
    const { createFaultProxy } = await import('./test/support/fault-proxy.ts')
    const listening = Promise.withResolvers()
    const ending = Promise.withResolvers()
    // It never says that it ends as well: the proxy's own end of the connection stays open.
    const target = createServer({ allowHalfOpen: true }, (socket) => {
      socket.on('error', () => {}).on('data', () => {}).on('end', ending.resolve)
    }).listen(0, '127.0.0.1', listening.resolve)
    await listening.promise
    const proxy = await createFaultProxy('redis://127.0.0.1:' + target.address().port)
    const sockets = Array.from({ length: 50 }, () => createConnection(proxy.port, '127.0.0.1'))
    for (const socket of sockets) socket.on('error', () => {}).end('last words')
    await ending.promise
    await proxy.close()
    for (const socket of sockets) socket.destroy()
    target.close()`
  const args = ['--input-type=module', '--eval', script]
  const started = startProcess(process.execPath, args, { env: environment(), cwd: ROOT })
  expect(await started.ended(30_000), started.output()).toBe(0)
})

function orders(seed: number) {
  const random = createRandom(seed, 'load')
  const settings = { name: 'same', tenants: ['a', 'b'], mix: EVERYTHING }
  return Array.from({ length: 200 }, (_, number) => nextOrder(random, number, settings))
}

test('the same seed sends the same, and breaks the same, in the same order; another one does not', () => {
  expect(orders(SEED)).toEqual(orders(SEED))
  expect(orders(SEED)).not.toEqual(orders(SEED + 1))
  const draws = (name: string) => {
    const random = createRandom(SEED, name)
    return Array.from({ length: 20 }, () => random.between(0, 1_000))
  }
  expect(draws('faults')).toEqual(draws('faults'))
  expect(draws('faults')).not.toEqual(draws('load'))
})

const attempt = (change: Partial<Attempt>): Attempt => ({
  number: 1,
  deployment: 'openai/gpt-test',
  model_group: 'mine',
  provider: 'openai',
  started_at: 0,
  ended_at: 1,
  outcome: 'completed',
  status_code: 200,
  error_class: null,
  retry_after: null,
  possibly_billed: false,
  input_tokens: 7,
  output_tokens: 5,
  cost: null,
  ...change,
})
const lost = attempt({ outcome: 'lost', status_code: null, possibly_billed: true })
const call = { at: 0, mayBill: true }

test('the audit of calls misses none: one without an attempt, one too many that is not marked, an answer without a call', () => {
  const faults = (status: string, attempts: Attempt[], calls: (typeof call)[]) =>
    compareCalls(status, attempts, calls).faults.length
  expect(faults('completed', [attempt({})], [call])).toBe(0)
  expect(faults('completed', [lost, attempt({})], [call, call])).toBe(0)
  // Noted, and its worker died before it was made.
  expect(faults('completed', [lost, attempt({})], [call])).toBe(0)
  const refused = attempt({ outcome: 'failed', status_code: 500 })
  expect(faults('completed', [refused, attempt({})], [{ ...call, mayBill: false }, call])).toBe(0)

  expect(faults('completed', [attempt({})], [call, call])).toBeGreaterThan(0)
  expect(faults('completed', [attempt({}), attempt({})], [call, call])).toBeGreaterThan(0)
  expect(
    faults('completed', [{ ...lost, possibly_billed: false }, attempt({})], [call, call]),
  ).toBeGreaterThan(0)
  expect(faults('completed', [attempt({})], [])).toBeGreaterThan(0)
  expect(faults('failed', [attempt({ outcome: 'in_flight' })], [call])).toBeGreaterThan(0)
})
