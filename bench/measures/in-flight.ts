// How many calls one worker process has in flight at once, at a provider that takes at least 20 s, and what each of them takes
// of its memory.
import { setTimeout as sleep } from 'node:timers/promises'
import type { LoadOrder, LoadResult } from '../processes/load-generator.ts'
import type { Watched, WatchedOrder } from '../processes/watched-upstream.ts'
import { ask, waitUntil, type Child, type Children } from '../support/children.ts'
import { COLLECTABLE, collectMemory } from '../support/collected-memory.ts'
import { checkGateway, gatewayRequest, project, startGateway, startRedis } from '../support/gateway.ts'
import type { Measure, Measured, Size } from '../support/measure.ts'
import { completionBody } from '../support/requests.ts'

const PROMPT_BYTES = 1_000
const CALLS = 5_000
const AT_MOST_KB = 30
// A tenant never takes the last 15% of all slots.
const SLOTS = 6_500
const HELD_MS = 20_000
const TIMEOUT_S = 600

/** Calls in flight in one worker process. */
export const inFlight: Measure = { name: 'in-flight', title: 'Calls in flight in one worker process', run }

async function run(children: Children, { isQuick }: Size): Promise<Measured> {
  const upstream = await children.startHelper('upstream', project('bench/processes/watched-upstream.ts'))
  const load = await children.startHelper('load', project('bench/processes/load-generator.ts'))
  const redis = await startRedis(children)
  const gateway = await startGateway({
    children,
    redisUrls: { api: redis.url, worker: redis.url },
    nodeArgs: COLLECTABLE,
    env: { WORKER_CONCURRENCY: String(SLOTS) },
  })
  const worker = gateway.worker ?? gateway.api
  const sync = patient(gatewayRequest(gateway, upstream.url, PROMPT_BYTES, ''), upstream.url)
  const submit = patient(gatewayRequest(gateway, upstream.url, PROMPT_BYTES, 'respond-async'), upstream.url)
  const send = async (order: LoadOrder) => {
    const result = await ask<LoadResult>(load, order, order.seconds * 1000 + 90_000)
    if (result.errors > 0) throw new Error(`${result.errors} requests failed: ${result.firstError}`)
  }
  const tell = (order: WatchedOrder) => ask<Watched>(upstream, order, 60_000)

  await checkGateway(gateway, sync)
  await send({ request: sync, connections: 100, seconds: 60, requestsMax: isQuick ? 500 : 3_000 })
  await tell({ delayMs: 'held' })
  const before = await collectMemory(worker)
  const startedAt = performance.now()
  await send({ request: submit, connections: 20, seconds: 600, requestsMax: CALLS })
  const { inFlightMax } = await waitForCalls(tell, [gateway.api, worker])
  const reachedMs = performance.now() - startedAt
  await sleep(Math.max(0, HELD_MS - reachedMs))
  const after = await collectMemory(worker)
  // They are still there after that time, and all end well.
  const { inFlight: stillInFlight } = await tell({})
  await tell({ delayMs: 0 })
  await waitUntil(
    'all calls are answered',
    [gateway.api, worker],
    async () => (await tell({})).inFlight === 0,
  )

  const eachKb = (after.rss - before.rss) / 1024 / stillInFlight
  const heapKb = (after.heapUsed + after.external - before.heapUsed - before.external) / 1024 / stillInFlight
  console.log(
    `  ${stillInFlight} in flight after ${(reachedMs / 1000).toFixed(1)} s; memory ${(before.rss / 1e6).toFixed(0)} to ${(after.rss / 1e6).toFixed(0)} MB without garbage; heap ${heapKb.toFixed(1)} KB a call`,
  )
  return {
    figures: [
      {
        text: `calls in flight in one worker process, ${HELD_MS / 1000} s upstream`,
        reached: Math.min(inFlightMax, stillInFlight),
        unit: '',
        aim: { atLeast: CALLS },
      },
      { text: 'memory (RSS) of a call in flight', reached: eachKb, unit: 'KB', aim: { atMost: AT_MOST_KB } },
    ],
    details: { inFlightMax, stillInFlight, reachedMs, before, after, heapKb },
  }
}

/** The request with a `user_config` whose calls may take as long as this measure. */
function patient<Request extends { body: string }>(request: Request, upstream: string): Request {
  const params = {
    model: 'openai/gpt-test',
    api_key: 'sk-bench-key',
    api_base: `${upstream}/v1`,
    timeout: TIMEOUT_S,
  }
  const { model, ...rest } = completionBody(PROMPT_BYTES)
  const user_config = { model_list: [{ model_name: model, litellm_params: params }] }
  return { ...request, body: JSON.stringify({ model, ...rest, user_config }) }
}

async function waitForCalls(
  tell: (order: WatchedOrder) => Promise<Watched>,
  children: Child[],
): Promise<Watched> {
  let seen = await tell({})
  while (seen.inFlight < CALLS) {
    // As long as they become more, it may take its time.
    const last = seen.inFlight
    try {
      await waitUntil('more calls come', children, async () => {
        seen = await tell({})
        return seen.inFlight > last
      })
    } catch (error) {
      // It is a figure how many came; none at all is a fault.
      if (seen.inFlight === 0) throw error
      return seen
    }
  }
  return seen
}
