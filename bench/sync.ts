// How fast a completion comes back: (a) bare Fastify + undici, (b) @portkey-ai/gateway, (c) our API and worker, on one
// machine, in one run, in turn, with an upstream that answers at once. And what one job costs: processor time of each
// process, and round trips to Redis.
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import {
  ask,
  createChildren,
  findFreePort,
  waitUntil,
  type Child,
  type Children,
  type Helper,
} from './support/children.ts'
import { checkGateway, gatewayRequest, project, startGateway, startRedis } from './support/gateway.ts'
import { readOptions, type Options } from './support/options.ts'
import { describeStatistics, readStatistics } from './support/redis-statistics.ts'
import { compare, printSummaries, writeJson } from './support/report.ts'
import { checkOnce, completionBody, type BenchRequest } from './support/requests.ts'
import { countRoundTrips, printRoundTrips } from './support/round-trips.ts'
import { measureRounds, type Contender } from './support/rounds.ts'

const NAMES = { bare: 'bare proxy', portkey: 'portkey', gateway: 'gateway' } as const
const PORTKEY = 'bench/peers/node_modules/@portkey-ai/gateway/build/start-server.js'
const TARGETS = [
  { text: 'the aim', of: NAMES.gateway, over: NAMES.portkey, connections: 200, atLeast: 1.2 },
  { text: 'the aim', of: NAMES.gateway, over: NAMES.bare, connections: 200, atLeast: 0.2 },
]

async function startBareProxy(children: Children, upstream: Helper, body: string): Promise<Contender> {
  const file = project('bench/processes/bare-proxy.ts')
  const proxy = await children.startHelper('bare-proxy', file, [upstream.url])
  const headers = { 'content-type': 'application/json', authorization: 'Bearer sk-bench' }
  const request = { url: `${proxy.url}/v1/chat/completions`, headers, body, status: 200 }
  await checkOnce(request)
  return { name: NAMES.bare, request, pids: { proxy: proxy.pid, upstream: upstream.pid } }
}

// Told what to do by headers, with neither retries nor fallbacks: the least it can be asked for. It trusts loopback hosts
// unless TRUSTED_CUSTOM_HOSTS says otherwise.
async function startPortkey(children: Children, upstream: Helper, body: string): Promise<Contender> {
  installPeers()
  const port = await findFreePort()
  const child = children.start('portkey', project(PORTKEY), { args: ['--headless', `--port=${port}`] })
  const request: BenchRequest = {
    url: `http://127.0.0.1:${port}/v1/chat/completions`,
    headers: {
      'content-type': 'application/json',
      authorization: 'Bearer sk-bench',
      'x-portkey-provider': 'openai',
      'x-portkey-custom-host': `${upstream.url}/v1`,
    },
    body,
    status: 200,
  }
  await waitUntil('portkey answers', [child], async () => Boolean(await checkOnce(request)))
  return { name: NAMES.portkey, request, pids: { portkey: child.pid, upstream: upstream.pid } }
}

// The peers have a lock of their own and are installed at first use: no user of ours wants them.
function installPeers(): void {
  if (existsSync(project(PORTKEY))) return
  console.log('Installing the peers of the benchmark (bench/peers) ...')
  const { status } = spawnSync('npm', ['ci', '--ignore-scripts'], {
    cwd: project('bench/peers'),
    stdio: 'inherit',
  })
  if (status !== 0)
    throw new Error('The peers could not be installed: npm ci --ignore-scripts in bench/peers')
}

async function startOurs(children: Children, upstream: Helper, options: Options): Promise<Contender> {
  const redis = await startRedis(children)
  const gateway = await startGateway({
    children,
    redisUrls: { api: redis.url, worker: redis.url },
    withWorker: true,
    profileFolder: options.profileFolder,
  })
  const request = gatewayRequest(gateway, upstream.url, options.promptBytes, '')
  await checkGateway(gateway, request)
  const pids = { api: gateway.api.pid, worker: gateway.worker?.pid ?? -1, redis: redis.pid }
  return {
    name: NAMES.gateway,
    request,
    pids: { ...pids, upstream: upstream.pid },
    counters: () => readStatistics(redis.client),
  }
}

// Every contender must have called the upstream once a request: neither a cache nor a retry may be measured.
function countingUpstreamCalls(contender: Contender, upstream: Child): Contender {
  const counters = async () => {
    const { calls } = await ask<{ calls: number }>(upstream, { question: 'calls' }, 10_000)
    return { ...(await contender.counters?.()), 'upstream calls': calls }
  }
  return { ...contender, counters }
}

async function main(options: Options): Promise<void> {
  const children = createChildren()
  try {
    const upstream = await children.startHelper('upstream', project('bench/processes/upstream.ts'))
    const load = await children.startHelper('load', project('bench/processes/load-generator.ts'))
    const body = JSON.stringify(completionBody(options.promptBytes))
    const starts = {
      bare: () => startBareProxy(children, upstream, body),
      portkey: () => startPortkey(children, upstream, body),
      gateway: () => startOurs(children, upstream, options),
    }
    const contenders: Contender[] = []
    for (const [name, start] of Object.entries(starts)) {
      if (options.only.length === 0 || options.only.includes(name)) {
        contenders.push(countingUpstreamCalls(await start(), upstream))
      }
    }

    const summaries = await measureRounds(contenders, load, options, availableParallelism())
    printSummaries(summaries)
    const pairs = [
      [NAMES.gateway, NAMES.portkey],
      [NAMES.gateway, NAMES.bare],
      [NAMES.portkey, NAMES.bare],
    ] as const
    const ratios = compare(summaries, pairs, TARGETS)
    for (const { name, connections, counters } of summaries) {
      const calls = counters['upstream calls'] ?? 0
      if (Math.abs(calls - 1) > 0.001)
        console.log(`${name} called the upstream ${calls.toFixed(3)} times a request`)
      if (name === NAMES.gateway) {
        console.log(`Redis commands per job at ${connections}: ${describeStatistics(counters)}`)
      }
    }

    const isOursMeasured = contenders.some(({ name }) => name === NAMES.gateway)
    const roundTrips =
      options.withRoundTrips && isOursMeasured
        ? await countRoundTrips(children, upstream.url, options.promptBytes)
        : null
    if (roundTrips) printRoundTrips(roundTrips)
    if (options.jsonFile !== '') writeJson(options.jsonFile, { options, summaries, ratios, roundTrips })
    if (summaries.some(({ errors }) => errors > 0)) process.exitCode = 1
  } finally {
    await children.stop()
  }
}

await main(readOptions())
