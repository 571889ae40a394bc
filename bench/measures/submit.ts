// How fast a job is accepted (`Prefer: respond-async`) by one API process, beside a bare Fastify route that awaits one
// BullMQ `add` of the same bytes. No worker runs, so that only the submit is measured.
import { availableParallelism } from 'node:os'
import { createKeys } from '../../shared/keys.ts'
import type { Children } from '../support/children.ts'
import { gatewayRequest, project, startGateway, startRedis, type BenchRedis } from '../support/gateway.ts'
import { noteOf, type Measure, type Measured, type Size } from '../support/measure.ts'
import type { Options } from '../support/options.ts'
import { describeStatistics, readStatistics } from '../support/redis-statistics.ts'
import { printRatios, printSummaries, ratiosOf } from '../support/report.ts'
import { checkOnce, userConfigBody } from '../support/requests.ts'
import { measureRounds, type Contender } from '../support/rounds.ts'

// Nobody listens there: nothing is sent.
const UPSTREAM = 'http://127.0.0.1:9'
const KEY_PREFIX = 'byok'
const NAMES = { bare: 'bare add', room: 'submit into the queue', backlog: 'submit behind a backlog' } as const
const PAIRS = [
  [NAMES.room, NAMES.bare],
  [NAMES.backlog, NAMES.bare],
] as const
const AT_LEAST = 0.6

type SubmitOptions = Pick<
  Options,
  'seconds' | 'rounds' | 'warmupSeconds' | 'connections' | 'promptBytes' | 'profileFolder' | 'only'
>

/** Accepted jobs beside a bare `add`. */
export const submit: Measure = { name: 'submit', title: 'Accepted jobs beside a bare BullMQ add', run }

async function run(children: Children, size: Size): Promise<Measured> {
  const { summaries, ratios } = await compareSubmit(children, {
    ...(size.isQuick
      ? { seconds: 2, rounds: 1, warmupSeconds: 2 }
      : { seconds: 5, rounds: 3, warmupSeconds: 3 }),
    connections: size.isQuick ? [50] : [50, 200],
    promptBytes: 1_000,
    profileFolder: size.profileFolder,
    only: [],
  })
  const figures = ratios.map(({ of, connections, ratio }) => ({
    text: `${of} (respond-async)/s, ${connections} connections, over a bare add`,
    reached: ratio,
    unit: 'x' as const,
    aim: { atLeast: AT_LEAST },
    ...noteOf(summaries),
  }))
  return { figures, details: { summaries, ratios } }
}

/** Measures those contenders that are wanted, in turn, and prints what was found. */
export async function compareSubmit(children: Children, options: SubmitOptions) {
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
  const ratios = ratiosOf(summaries, PAIRS)
  printRatios(ratios)
  for (const { name, connections, counters } of summaries) {
    console.log(`Redis commands per request, ${name} at ${connections}: ${describeStatistics(counters)}`)
  }
  return { summaries, ratios }
}

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
async function startOurs(
  children: Children,
  redis: BenchRedis,
  options: SubmitOptions,
): Promise<Contender[]> {
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
