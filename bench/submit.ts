// How fast a job is accepted (`Prefer: respond-async`) by one API process, beside a bare Fastify route that awaits one
// BullMQ `add` of the same bytes. No worker runs, so that only the submit is measured.
import { availableParallelism } from 'node:os'
import { createKeys } from '../shared/keys.ts'
import { createChildren, type Children } from './support/children.ts'
import { gatewayRequest, project, startGateway, startRedis, type BenchRedis } from './support/gateway.ts'
import { readOptions, type Options } from './support/options.ts'
import { describeStatistics, readStatistics } from './support/redis-statistics.ts'
import { compare, printSummaries, writeJson } from './support/report.ts'
import { checkOnce, userConfigBody } from './support/requests.ts'
import { measureRounds, type Contender } from './support/rounds.ts'

// Nobody listens there: nothing is sent.
const UPSTREAM = 'http://127.0.0.1:9'
const KEY_PREFIX = 'byok'
const NAMES = { bare: 'bare add', room: 'submit into the queue', backlog: 'submit behind a backlog' } as const
const TARGETS = [
  { text: 'the aim', of: NAMES.room, over: NAMES.bare, connections: 50, atLeast: 0.5 },
  { text: 'the aim', of: NAMES.room, over: NAMES.bare, connections: 200, atLeast: 0.5 },
]

async function startBareAdd(children: Children, redis: BenchRedis, body: string): Promise<Contender> {
  const file = project('bench/processes/bare-add.ts')
  const child = await children.startHelper('bare-add', file, [redis.url])
  const headers = { 'content-type': 'application/json' }
  const request = { url: `${child.url}/add`, headers, body, status: 202 }
  return {
    name: NAMES.bare,
    request,
    pids: { route: child.pid, redis: redis.pid },
    reset: async () => void (await redis.client.flushall()),
    counters: () => readStatistics(redis.client),
  }
}

// Two ways through a submit: with room in the window the job is added to BullMQ too, as `add` does; behind a backlog it is
// put in its owner's line. Room is made by saying that there are slots enough, which workers say otherwise.
async function startOurs(children: Children, redis: BenchRedis, options: Options): Promise<Contender[]> {
  const gateway = await startGateway({
    children,
    redisUrls: { api: redis.url, worker: redis.url },
    workers: 0,
    profileFolder: options.profileFolder,
    env: { GATEWAY_KEY_PREFIX: KEY_PREFIX },
  })
  const request = gatewayRequest(gateway, UPSTREAM, options.promptBytes, 'respond-async')
  const pids = { api: gateway.api.pid, redis: redis.pid }
  const slots = createKeys(KEY_PREFIX).slots
  const counters = () => readStatistics(redis.client)
  const reset = async () => void (await redis.client.flushall())
  const resetWithRoom = async () => {
    await redis.client.flushall()
    await redis.client.set(slots, 1_000_000_000)
  }
  return [
    { name: NAMES.room, request, pids, counters, reset: resetWithRoom },
    { name: NAMES.backlog, request, pids, counters, reset },
  ]
}

async function main(options: Options): Promise<void> {
  const children = createChildren()
  try {
    const redis = await startRedis(children)
    const load = await children.startHelper('load', project('bench/processes/load-generator.ts'))
    const isWanted = (name: string) => options.only.length === 0 || options.only.includes(name)
    const contenders: Contender[] = []
    const ours = isWanted('gateway') ? await startOurs(children, redis, options) : []
    const body = JSON.stringify(userConfigBody(options.promptBytes, UPSTREAM))
    if (isWanted('bare')) contenders.push(await startBareAdd(children, redis, body))
    contenders.push(...ours)
    for (const { request } of contenders) await checkOnce(request)

    const summaries = await measureRounds(contenders, load, options, availableParallelism())
    printSummaries(summaries)
    const pairs = [
      [NAMES.room, NAMES.bare],
      [NAMES.backlog, NAMES.bare],
    ] as const
    const ratios = compare(summaries, pairs, TARGETS)
    for (const { name, connections, counters } of summaries) {
      console.log(`Redis commands per request, ${name} at ${connections}: ${describeStatistics(counters)}`)
    }
    if (options.jsonFile !== '') writeJson(options.jsonFile, { options, summaries, ratios })
    if (summaries.some(({ errors }) => errors > 0)) process.exitCode = 1
  } finally {
    await children.stop()
  }
}

await main(readOptions())
