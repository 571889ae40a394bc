// What a job of 2 KB takes of Redis while it waits, beside its sealed body, and when it has ended, beside its sealed result. All
// that Redis holds is counted, not only the record: the difference of many jobs, by their number.
import { setTimeout as sleep } from 'node:timers/promises'
import type { Redis } from 'ioredis'
import { createKeys } from '../../shared/keys.ts'
import type { LoadOrder, LoadResult } from '../processes/load-generator.ts'
import { ask, waitUntil, type Child, type Children } from '../support/children.ts'
import { gatewayRequest, project, startGateway, startRedis } from '../support/gateway.ts'
import type { Figure, Measure, Measured, Size } from '../support/measure.ts'
import { bytesByKind, dataBytes, type KeyKind } from '../support/redis-bytes.ts'
import { printTable } from '../support/report.ts'
import { prose } from '../support/requests.ts'

const KEY_PREFIX = 'byok'
const PROMPT_BYTES = 2_000
// What there is once, whatever the number of jobs, is there before the first is counted: texts of scripts, what is counted of commands.
const FIRST_JOBS = 100
const SAMPLED = 50
const AT_MOST = { waiting: 1_536, finished: 600 }
// News of ended jobs are summed up, and BullMQ's entries are gone.
const TIDY_MS = 3_000

/** Redis bytes of a job. */
export const bytes: Measure = { name: 'bytes', title: 'Redis bytes of a job of 2 KB', run }

async function run(children: Children, { isQuick }: Size): Promise<Measured> {
  const jobs = isQuick ? 2_000 : 10_000
  const upstream = await children.startHelper('upstream', project('bench/processes/upstream.ts'))
  const load = await children.startHelper('load', project('bench/processes/load-generator.ts'))
  const redis = await startRedis(children)
  const gateway = await startGateway({
    children,
    redisUrls: { api: redis.url, worker: redis.url },
    workers: 0,
    env: { GATEWAY_KEY_PREFIX: KEY_PREFIX },
  })
  const request = gatewayRequest(gateway, upstream.url, 0, 'respond-async')
  const messages = [{ role: 'user', content: prose(PROMPT_BYTES) }]
  request.body = JSON.stringify({ ...(JSON.parse(request.body) as object), messages })
  const submit = (requestsMax: number) =>
    sendExactly(load, { request, connections: 50, seconds: 600, requestsMax })
  await submit(FIRST_JOBS)
  const first = gateway.startWorker()
  await waitForAll(redis.client, upstream, [gateway.api, first], FIRST_JOBS)
  await children.end(first)
  const before = await dataBytes(redis.client)
  const submitted = await submit(jobs)
  const waiting = await kept(redis.client, before, submitted, 'req')

  const worker = gateway.startWorker()
  await waitForAll(redis.client, upstream, [gateway.api, worker], submitted + FIRST_JOBS)
  const finished = await kept(redis.client, before, submitted, 'out')
  print('waiting', waiting)
  print('finished', finished)
  return {
    figures: [
      figure('waiting job of 2 KB over its sealed body', waiting, AT_MOST.waiting),
      figure('finished job over its sealed result', finished, AT_MOST.finished),
    ],
    details: { jobs: submitted, waiting, finished },
  }
}

function figure(text: string, { overBytes }: Kept, atMost: number): Figure {
  return { text: `Redis bytes of a ${text}`, reached: overBytes, unit: 'B', aim: { atMost } }
}

/** Bytes a job, those of a sealed field, and what is left without it; its record by field, and all keys by kind, a job. */
type Kept = {
  eachBytes: number
  fieldBytes: number
  overBytes: number
  fields: [string, number][]
  kinds: KeyKind[]
  jobs: number
}

async function kept(redis: Redis, before: number, jobs: number, field: string): Promise<Kept> {
  const eachBytes = ((await dataBytes(redis)) - before) / jobs
  const fields = await fieldsOf(redis, field)
  const fieldBytes = fields.find(([name]) => name === field)?.[1] ?? Number.NaN
  const kinds = await bytesByKind(redis)
  return { eachBytes, fieldBytes, overBytes: eachBytes - fieldBytes, fields, kinds, jobs: jobs + FIRST_JOBS }
}

/** Mean bytes of each field of a record that has this one, the largest first. */
async function fieldsOf(redis: Redis, having: string): Promise<[string, number][]> {
  const pattern = createKeys(KEY_PREFIX).job('*')
  const sums = new Map<string, number>()
  let records = 0
  for await (const names of redis.scanStream({ match: pattern, count: 1_000 }) as AsyncIterable<string[]>) {
    for (const name of names) {
      const record = await redis.hgetallBuffer(name)
      if (!record[having]) continue
      records += 1
      for (const [field, value] of Object.entries(record)) {
        sums.set(field, (sums.get(field) ?? 0) + value.length)
      }
    }
    if (records >= SAMPLED) break
  }
  return [...sums]
    .map(([field, sum]): [string, number] => [field, sum / records])
    .toSorted(([, x], [, y]) => y - x)
}

async function sendExactly(load: Child, order: LoadOrder): Promise<number> {
  const { requests, errors, firstError } = await ask<LoadResult>(load, order, order.seconds * 1000 + 90_000)
  if (errors > 0) throw new Error(`${errors} submits failed: ${firstError}`)
  return requests
}

async function waitForAll(redis: Redis, upstream: Child, children: Child[], jobs: number): Promise<void> {
  const { window } = createKeys(KEY_PREFIX)
  const calls = async () => (await ask<{ calls: number }>(upstream, { question: 'calls' }, 10_000)).calls
  // As long as it goes on, it may take its time.
  for (let called = 0; called < jobs;) {
    const last = called
    await waitUntil('waiting jobs are called', children, async () => (await calls()) > last)
    called = await calls()
  }
  await waitUntil('all jobs end', children, async () => (await redis.zcard(window)) === 0)
  await sleep(TIDY_MS)
}

function print(what: string, { eachBytes, fieldBytes, overBytes, fields, kinds, jobs }: Kept): void {
  console.log(
    `  ${what}: ${eachBytes.toFixed(0)} bytes a job, ${fieldBytes.toFixed(0)} of them sealed, ${overBytes.toFixed(0)} beside`,
  )
  const shown = kinds.filter(({ bytes: size }) => size / jobs >= 1)
  printTable(
    ['', 'keys', 'bytes/job'],
    shown.map(({ kind, keys, bytes: size }) => [kind, String(keys), (size / jobs).toFixed(1)]),
  )
  console.log(
    `  bytes of its record’s fields: ${fields.map(([name, size]) => `${name} ${size.toFixed(0)}`).join(', ')}`,
  )
}
