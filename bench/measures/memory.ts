// What API and worker have in memory when they have just started, and by how much that grows with configs that are never seen
// again, each with a provider key of its own: caches by config must end somewhere.
import type { LoadOrder, LoadResult } from '../processes/load-generator.ts'
import { ask, type Child, type Children } from '../support/children.ts'
import { COLLECTABLE, collectMemory } from '../support/collected-memory.ts'
import { checkGateway, gatewayRequest, project, startGateway, startRedis } from '../support/gateway.ts'
import type { Figure, Measure, Measured, Size } from '../support/measure.ts'
import { memoryOf } from '../support/process-memory.ts'
import { printTable } from '../support/report.ts'

const PROMPT_BYTES = 100
const CONNECTIONS = 50
const STEPS = 5
const COUNTER = '0123456789'
const AT_MOST_MB = { idle: 130, slope: 1 }
const SLOPE_OVER = 10_000

/** Memory of idle processes, and its growth with distinct configs. */
export const memory: Measure = { name: 'memory', title: 'Memory: idle, and over distinct user_configs', run }

type Point = { configs: number; rssMb: number; heapMb: number }

async function run(children: Children, { isQuick }: Size): Promise<Measured> {
  const configs = isQuick ? 10_000 : 100_000
  const upstream = await children.startHelper('upstream', project('bench/processes/upstream.ts'))
  const load = await children.startHelper('load', project('bench/processes/load-generator.ts'))
  const redis = await startRedis(children)
  const gateway = await startGateway({
    children,
    redisUrls: { api: redis.url, worker: redis.url },
    nodeArgs: COLLECTABLE,
  })
  const same = gatewayRequest(gateway, upstream.url, PROMPT_BYTES, '')
  await checkGateway(gateway, same)
  const idle = memoryOf(gateway.pids)

  const processes: Record<string, Child> = { api: gateway.api, worker: gateway.worker ?? gateway.api }
  const points: Record<string, Point[]> = { api: [], worker: [] }
  const body = same.body.replaceAll(/bench-(\w+)-key-0123456789/g, `bench-$1-key-${COUNTER}`)
  const request = { ...same, body, counter: COUNTER }
  for (let step = 1; step <= STEPS; step += 1) {
    const order: LoadOrder = {
      request,
      connections: CONNECTIONS,
      seconds: 3_600,
      requestsMax: configs / STEPS,
    }
    const { errors, firstError } = await ask<LoadResult>(load, order, 3_700_000)
    if (errors > 0) throw new Error(`${errors} requests failed: ${firstError}`)
    for (const [name, child] of Object.entries(processes)) {
      const { rss, heapUsed, external } = await collectMemory(child)
      const point = {
        configs: (step * configs) / STEPS,
        rssMb: rss / 2 ** 20,
        heapMb: (heapUsed + external) / 2 ** 20,
      }
      points[name]?.push(point)
    }
  }
  print(points)
  const figures = Object.entries(points).flatMap(([name, line]): Figure[] => [
    {
      text: `memory (RSS) of an idle ${name} process`,
      reached: idle[name]?.nowMb ?? Number.NaN,
      unit: 'MB',
      aim: { atMost: AT_MOST_MB.idle },
    },
    {
      text: `growth of the ${name} over ${configs} distinct user_configs, RSS per 10,000`,
      reached: slope(line, 'rssMb'),
      unit: 'MB',
      aim: { atMost: AT_MOST_MB.slope },
      ...(isQuick ? { note: 'quick: of 10,000 only, so warming up is most of it' } : {}),
    },
    {
      text: `growth of the ${name} over ${configs} distinct user_configs, heap per 10,000`,
      reached: slope(line, 'heapMb'),
      unit: 'MB',
      aim: null,
    },
  ])
  return { figures, details: { configs, idle, points } }
}

/** By least squares, of all points but the first, which holds what is filled once. */
function slope(points: readonly Point[], field: 'rssMb' | 'heapMb'): number {
  const line = points.slice(1)
  const [x, y] = [mean(line.map((one) => one.configs)), mean(line.map((one) => one[field]))]
  const above = line.reduce((sum, one) => sum + (one.configs - x) * (one[field] - y), 0)
  const below = line.reduce((sum, one) => sum + (one.configs - x) ** 2, 0)
  return (above / below) * SLOPE_OVER
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length
}

function print(points: Record<string, Point[]>): void {
  const rows = Object.entries(points).flatMap(([name, line]) =>
    line.map(({ configs, rssMb, heapMb }) => [name, String(configs), rssMb.toFixed(1), heapMb.toFixed(1)]),
  )
  printTable(['without garbage', 'configs', 'RSS MB', 'heap and external MB'], rows)
}
