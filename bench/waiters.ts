// What it costs to wait for a job's end (`GET /v1/jobs/{id}?wait=60`): many waiters at once on one API process, while nothing
// happens, when their jobs end, and when Redis is started again under them. Jobs are delayed, so that no worker is needed; this
// process ends them by the store.
import { Agent, request } from 'node:http'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { chooseSocket, startEmbeddedRedis } from '../cli/embedded-redis.ts'
import { createIds } from '../shared/ids.ts'
import { createJobControl } from '../shared/jobs/job-control.ts'
import { createKeys } from '../shared/keys.ts'
import { createLog } from '../shared/log.ts'
import { createRedis } from '../shared/redis.ts'
import { createSealer } from '../shared/seal.ts'
import { createSettle } from '../shared/jobs/settle.ts'
import { createWindow } from '../shared/jobs/window.ts'
import { createChildren, waitUntil, type Children } from './support/children.ts'
import { measureCpu, type CpuUse } from './support/cpu.ts'
import { startGateway, type Gateway } from './support/gateway.ts'
import { describeMemory, memoryOf } from './support/process-memory.ts'
import { describeStatistics, readStatistics } from './support/redis-statistics.ts'

const PREFIX = 'byok'
const IDLE_S = 10
/** So many jobs end a second, one after the other. */
const ENDS_PER_SECOND = 200
const SECRETS = { encryption: randomBytes(32), id: randomBytes(24).toString('hex') }
const agent = new Agent({ keepAlive: false, maxSockets: Infinity })

/** A Redis that can be stopped and started again at its place, and the store of jobs on it. */
async function startStore(children: Children) {
  const dataDir = join(children.folder, 'redis')
  mkdirSync(dataDir)
  const socket = await chooseSocket(dataDir)
  let server = await startEmbeddedRedis({ dataDir, socket, appendfsync: 'everysec' })
  children.closeLast(() => server.stop())
  const log = createLog('fatal', 'bench')
  const redis = createRedis(server.url, 'blocking', log)
  const subscriber = createRedis(server.url, 'blocking', log)
  children.closeLast(async () => {
    redis.disconnect()
    subscriber.disconnect()
  })
  const keys = createKeys(PREFIX)
  const ids = createIds(SECRETS.id)
  const sealer = createSealer([{ id: 'bench', key: SECRETS.encryption }])
  const times = { resultRetentionMs: 86_400_000, idempotencyRetentionMs: 86_400_000 }
  const settle = createSettle({ redis, keys, sealer, ids, ...times })
  const control = createJobControl({ redis, keys, sealer, ids, window: createWindow(redis, keys), settle })
  const endedAt = new Map<string, number>()
  subscriber.on('message', (_channel, id: string) => endedAt.set(id, performance.now()))
  await subscriber.subscribe(keys.settledChannel)
  return {
    redis,
    url: server.url,
    end: (id: string) => control.cancel('default', id),
    /** When its end was told, by this process's clock. */
    endedAt: (id: string) => endedAt.get(id) ?? Number.NaN,
    async restart() {
      await server.stop()
      server = await startEmbeddedRedis({ dataDir, socket, appendfsync: 'everysec' })
    },
  }
}

/** One call. @returns status and text of its answer. */
function call(gateway: Gateway, method: string, path: string, body?: string) {
  const { promise, resolve, reject } = Promise.withResolvers<{ status: number; text: string }>()
  const headers = { authorization: `Bearer ${gateway.masterKey}`, 'content-type': 'application/json' }
  const sent = request(`${gateway.url}${path}`, { method, agent, headers }, (response) => {
    let text = ''
    response.setEncoding('utf8')
    response.on('data', (piece: string) => (text += piece))
    response.on('end', () => resolve({ status: response.statusCode ?? 0, text }))
  })
  sent.on('error', reject)
  sent.end(body)
  return promise
}

async function submit(gateway: Gateway): Promise<string> {
  const user_config = {
    model_list: [{ model_name: 'mine', litellm_params: { model: 'openai/gpt-test', api_key: 'sk-own' } }],
  }
  const body = { model: 'mine', messages: [{ role: 'user', content: 'hello' }], user_config }
  const job = JSON.stringify({ endpoint: '/v1/chat/completions', body, delay: 86_400 })
  const { text } = await call(gateway, 'POST', '/v1/jobs', job)
  return (JSON.parse(text) as { id: string }).id // of our own API
}

type Waited = { id: string; at: number; errorsAt: number[] }

/** Waits for a job's end, asking again as clients do. @returns when it knew of it, and when it was answered an error. */
async function waitFor(gateway: Gateway, id: string): Promise<Waited> {
  const errorsAt: number[] = []
  for (;;) {
    const { status, text } = await call(gateway, 'GET', `/v1/jobs/${id}?wait=60`)
    if (status === 200 && text.includes('"status":"cancelled"'))
      return { id, at: performance.now(), errorsAt }
    if (status !== 200) errorsAt.push(performance.now())
  }
}

function percentOf(use: CpuUse): string {
  return `${(((use?.byProcess['api'] ?? Number.NaN) / (IDLE_S * 1e6)) * 100).toFixed(1)}%`
}

function percentile(sorted: readonly number[], part: number): string {
  return (sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? Number.NaN).toFixed(1)
}

async function main(waiters: number): Promise<void> {
  const children = createChildren()
  try {
    const store = await startStore(children)
    const gateway = await startGateway({
      children,
      redisUrls: { api: store.url, worker: store.url },
      workers: 0,
      env: {
        GATEWAY_KEY_PREFIX: PREFIX,
        GATEWAY_ENCRYPTION_KEYS: `bench:${SECRETS.encryption.toString('base64')}`,
        GATEWAY_ID_SECRET: SECRETS.id,
      },
    })
    const jobs: string[] = []
    while (jobs.length < waiters)
      jobs.push(...(await Promise.all(Array.from({ length: 50 }, () => submit(gateway)))))
    const pids = { api: gateway.api.pid }
    console.log(`MB of memory, now (at most): ${describeMemory(memoryOf(pids))} without waiters`)

    const idle = measureCpu(pids)
    await sleep(IDLE_S * 1000)
    const without = percentOf(idle())
    const waits: Promise<Waited>[] = []
    for (const [at, id] of jobs.entries()) {
      waits.push(waitFor(gateway, id))
      if (at % 20 === 0) await sleep(50)
    }
    await waitUntil('all of them wait', [gateway.api], async () => {
      const { 'calls hmget': reads = 0 } = await readStatistics(store.redis)
      return reads >= waiters
    })
    await sleep(1_000)
    const before = await readStatistics(store.redis)
    const cpu = measureCpu(pids)
    await sleep(IDLE_S * 1000)
    const used = percentOf(cpu())
    const after = await readStatistics(store.redis)
    const perSecond = Object.fromEntries(
      Object.entries(after).map(([name, value]) => [name, (value - (before[name] ?? 0)) / IDLE_S]),
    )
    console.log(`MB with ${waiters} waiters: ${describeMemory(memoryOf(pids))}`)
    console.log(`While nothing happens, ${used} of a core; ${without} without them`)
    console.log(`Redis commands a second: ${describeStatistics(perSecond)}`)

    const half = Math.floor(waiters / 2)
    for (const [at, id] of jobs.slice(0, half).entries()) {
      void store.end(id)
      if (at % (ENDS_PER_SECOND / 100) === 0) await sleep(10)
    }
    const woken = await Promise.all(waits.slice(0, half))
    const latencies = woken.map(({ id, at }) => at - store.endedAt(id)).toSorted((a, b) => a - b)
    console.log(
      `${half} woken at ${ENDS_PER_SECOND} ends a second: p50 ${percentile(latencies, 0.5)} ms, p99 ${percentile(latencies, 0.99)} ms, at most ${percentile(latencies, 1)} ms`,
    )

    const stoppedAt = performance.now()
    await store.restart()
    const startedAt = performance.now()
    await Promise.all(jobs.slice(half).map((id) => store.end(id)))
    const rest = await Promise.all(waits.slice(half))
    const all = [...woken, ...rest].flatMap(({ errorsAt }) => errorsAt)
    const errors = all.filter((at) => at > stoppedAt).length
    const lastMs = performance.now() - startedAt
    console.log(
      `${rest.length} waiters over a restart of Redis: all returned, the last after ${lastMs.toFixed(0)} ms, with ${errors} errors (${all.length - errors} before it)`,
    )
    console.log(`MB after it: ${describeMemory(memoryOf(pids))}`)
  } finally {
    await children.stop()
  }
}

const { values } = parseArgs({ options: { waiters: { type: 'string', default: '2000' } } })
await main(Number(values.waiters))
