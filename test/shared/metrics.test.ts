import { createServer, type AddressInfo } from 'node:net'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createLog } from '../../shared/log.ts'
import { openMetrics } from '../../shared/metrics/metrics-port.ts'
import { createQueueReader, showQueues } from '../../shared/metrics/queue-metrics.ts'
import { childrenOf, countOf, openRegistry, type Metrics } from '../../shared/metrics/registry.ts'
import { eventually } from '../support/eventually.ts'
import { testStore, type TestStore } from '../support/store.ts'

const ROUNDS = 60
const STEPS = 1_000

let metrics: Metrics
let store: TestStore

beforeAll(async () => {
  metrics = await openRegistry('worker')
  store = testStore()
})

afterAll(async () => {
  metrics.close()
  await store.cleanup()
})

test('what is not known beforehand is counted as other, however many there are', async () => {
  const counter = metrics.counter('colours_total', 'Colours.', ['colour'])
  const colourOf = childrenOf(new Set(['red', 'blue']), (colour) => countOf(counter, colour))
  colourOf('red').inc()
  for (let number = 0; number < 1_000; number += 1) colourOf(`own ${number}`).inc()
  const lines = (await metrics.text()).split('\n').filter((line) => line.startsWith('byok_colours_total{'))
  expect(lines.toSorted()).toEqual([
    'byok_colours_total{colour="blue"} 0',
    'byok_colours_total{colour="other"} 1000',
    'byok_colours_total{colour="red"} 1',
  ])
})

test('counting costs a fraction of what the smallest step of a job does', () => {
  const counter = metrics.counter('steps_total', 'Steps.', ['provider', 'outcome'])
  const outcomeOf = childrenOf(new Set(['openai']), (provider) =>
    childrenOf(new Set(['completed']), (outcome) => countOf(counter, provider, outcome)),
  )
  const seconds = metrics.histogram('step_seconds', 'Steps.', ['provider']).labels('openai')
  // What a job's record goes through several times.
  const meta = JSON.stringify({ endpoint: '/v1/chat/completions', model: 'm', mode: 'sync', customer: null })
  const [counting, parsing] = leastOf(
    () => {
      outcomeOf('openai')('completed').inc()
      seconds.observe(0.3)
    },
    () => void JSON.parse(meta),
  )
  expect(counting).toBeLessThan(10 * parsing)
})

test('what can not be read is absent, and no old value stands for it', async () => {
  let isAway = false
  const state = await createQueueReader(store.redis, store.keys)()
  showQueues(metrics, [() => (isAway ? Promise.reject(new Error('away')) : Promise.resolve(state))])
  const shown = async () => {
    const text = await metrics.text()
    return /^byok_(queue_depth|progress_age|workers|oldest|overdue|jobs_waiting)\S* \d/m.test(text)
  }
  await eventually('it is shown', shown)
  isAway = true
  await eventually('none of it is there', async () => !(await shown()))
  isAway = false
  await eventually('it is shown again', shown)
})

test('a process whose port is taken says which setting to change', async () => {
  const taken = createServer()
  await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve))
  const { port } = taken.address() as AddressInfo // it listens on TCP
  const opening = openMetrics({ host: '127.0.0.1', port }, 'api', createLog('silent', 'test'))
  await expect(opening).rejects.toThrow(/port \d+ .*GATEWAY_METRICS_PORT/)
  await new Promise((resolve) => taken.close(resolve))
})

/** Milliseconds of one of each, in turn, the least of all rounds: what else the machine does only adds to it. */
function leastOf(first: () => void, second: () => void): [number, number] {
  const least: [number, number] = [Infinity, Infinity]
  for (let round = 0; round < ROUNDS; round += 1) {
    least[0] = Math.min(least[0], timeOf(first))
    least[1] = Math.min(least[1], timeOf(second))
  }
  return least
}

function timeOf(step: () => void): number {
  const startedAt = performance.now()
  for (let count = 0; count < STEPS; count += 1) step()
  return (performance.now() - startedAt) / STEPS
}
