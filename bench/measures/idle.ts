// How soon things follow each other for one job at a time on an idle gateway: from its submit to the provider's socket, and
// from the provider's answer to the answer of a long-poll and to the receiver of a webhook. All by one clock.
import { setTimeout as sleep } from 'node:timers/promises'
import { Pool } from 'undici'
import type { Watched, WatchedOrder } from '../processes/watched-upstream.ts'
import { ask, waitUntil, type Children, type Helper } from '../support/children.ts'
import { sharedNowMs } from '../support/clock.ts'
import { measureCpu } from '../support/cpu.ts'
import {
  checkGateway,
  gatewayRequest,
  project,
  startGateway,
  startRedis,
  type Gateway,
} from '../support/gateway.ts'
import { noteOfUse, type Figure, type Measure, type Measured, type Size } from '../support/measure.ts'
import { percentile } from '../support/percentile.ts'
import { userConfigBody } from '../support/requests.ts'

const PROMPT_BYTES = 1_000
// Long enough that its caller waits for the job's end before it comes.
const ANSWER_MS = 100
// The gateway's own clocks must not be met at the same moment each time.
const PAUSE_MS_MAX = 50
const WARMUP_JOBS = 20

/** Milliseconds of one job. */
type Times = { pickupMs: number; longPollMs: number; webhookMs: number }

/** Pickup, long-poll and webhook on an idle gateway. */
export const idle: Measure = { name: 'idle', title: 'Pickup, long-poll and webhook, idle', run }

async function run(children: Children, size: Size): Promise<Measured> {
  const upstream = await children.startHelper('upstream', project('bench/processes/watched-upstream.ts'))
  const redis = await startRedis(children)
  const gateway = await startGateway({
    children,
    redisUrls: { api: redis.url, worker: redis.url },
    profileFolder: size.profileFolder,
  })
  await checkGateway(gateway, gatewayRequest(gateway, upstream.url, PROMPT_BYTES, ''))
  await ask<Watched>(upstream, { delayMs: ANSWER_MS } satisfies WatchedOrder, 10_000)
  const pool = new Pool(gateway.url)
  children.closeLast(() => pool.close())
  const time = () => timeJob(pool, gateway, upstream)
  for (let count = 0; count < WARMUP_JOBS; count += 1) await time()
  const stopCpu = measureCpu({ ...gateway.pids, redis: redis.pid, upstream: upstream.pid })
  const startedAt = sharedNowMs()
  const times: Times[] = []
  const jobs = size.isQuick ? 50 : 300
  while (times.length < jobs) times.push(await time())
  const note = noteOfUse(stopCpu(), sharedNowMs() - startedAt)

  const figure = (text: string, of: keyof Times, part: number, atMost: number | null): Figure => ({
    text: `${text}, idle: p${part * 100}`,
    reached: percentile(
      times.map((one) => one[of]),
      part,
    ),
    unit: 'ms',
    aim: atMost === null ? null : { atMost },
    ...note,
  })
  const [longPoll, webhook] = ['long-poll', 'webhook'].map((what) => `${what} after the provider’s answer`)
  const figures = [
    figure('pickup (submit to the provider’s socket)', 'pickupMs', 0.5, 4),
    figure('pickup (submit to the provider’s socket)', 'pickupMs', 0.99, 20),
    figure(longPoll ?? '', 'longPollMs', 0.5, null),
    figure(longPoll ?? '', 'longPollMs', 0.99, 50),
    figure(webhook ?? '', 'webhookMs', 0.5, null),
    figure(webhook ?? '', 'webhookMs', 0.99, 150),
  ]
  return { figures, details: { jobs, times } }
}

async function timeJob(pool: Pool, gateway: Gateway, upstream: Helper): Promise<Times> {
  const body = userConfigBody(PROMPT_BYTES, upstream.url)
  const job = { endpoint: '/v1/chat/completions', body, webhook: { url: `${upstream.url}/hook` } }
  const submittedAt = sharedNowMs()
  const submitted = await call(pool, gateway, 'POST', '/v1/jobs', JSON.stringify(job))
  const { id } = JSON.parse(submitted) as { id: string } // of our own API
  const ended = await call(pool, gateway, 'GET', `/v1/jobs/${id}?wait=30`)
  const endedAt = sharedNowMs()
  if (!ended.includes('"status":"completed"')) throw new Error(`The job ended otherwise: ${ended}`)
  const noted: Pick<Watched, 'cameAt' | 'answeredAt' | 'hookedAt'> = {
    cameAt: [],
    answeredAt: [],
    hookedAt: [],
  }
  await waitUntil('the webhook comes', [gateway.api], async () => {
    const news = await ask<Watched>(upstream, {}, 10_000)
    for (const kind of ['cameAt', 'answeredAt', 'hookedAt'] as const) noted[kind].push(...news[kind])
    return noted.hookedAt.length > 0
  })
  await sleep(Math.random() * PAUSE_MS_MAX)
  const [cameAt = Number.NaN] = noted.cameAt
  const [answeredAt = Number.NaN] = noted.answeredAt
  const [hookedAt = Number.NaN] = noted.hookedAt
  return {
    pickupMs: cameAt - submittedAt,
    longPollMs: endedAt - answeredAt,
    webhookMs: hookedAt - answeredAt,
  }
}

async function call(
  pool: Pool,
  gateway: Gateway,
  method: 'GET' | 'POST',
  path: string,
  body?: string,
): Promise<string> {
  const headers = { authorization: `Bearer ${gateway.masterKey}`, 'content-type': 'application/json' }
  const response = await pool.request({ method, path, headers, body })
  const text = await response.body.text()
  if (response.statusCode >= 300)
    throw new Error(`${path} answered ${response.statusCode}: ${text.slice(0, 500)}`)
  return text
}
