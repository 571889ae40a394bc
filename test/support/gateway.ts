import { randomBytes } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { inject } from 'vitest'
import { createApiKeys } from '../../shared/tenants/api-keys.ts'
import { createKeys } from '../../shared/keys.ts'
import type { ApiKeySettings } from '../../shared/schemas/api-key.ts'
import type { Job } from '../../shared/schemas/job.ts'
import { eventually, Hopeless } from './eventually.ts'
import { entryOf } from './packed.ts'
import { startProcess, type TestProcess } from './processes.ts'
import { testRedis } from './redis.ts'
import { environment } from './redis-process.ts'
import { openRedis } from './topology.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))

/**
 * Times short enough for a test, and longer than a machine with other things to do stands still: a process that does loses no
 * claim, and one that dies is noticed in about six seconds.
 */
const SHORT_TIMES = {
  GATEWAY_LOCK_MS: '6000',
  GATEWAY_STALLED_CHECK_MS: '600',
  GATEWAY_LEASE_MS: '5000',
  GATEWAY_HEARTBEAT_MS: '1000',
  GATEWAY_SWEEP_MS: '250',
  GATEWAY_DRAIN_MS: '8000',
  WORKER_CONCURRENCY: '50',
  // Redis is not away when the machine stands still.
  GATEWAY_REDIS_TIMEOUT_MS: '10000',
}

export type GatewayOptions = {
  /** A Redis of the test's own, else the run's. */
  redisUrl?: string
  /** How many worker processes to start with; 1 unless given. */
  workers?: number
  /** Text of the operator's `config.yaml`. */
  config?: string
  /** Overrides of both processes' environment. */
  env?: Record<string, string>
  /** Told of each process that is started. */
  onLaunch?: (pid: number) => void
}

/**
 * Starts the gateway as in production: API and worker as processes of their own, from files that load faster (`entryOf`), on
 * a real Redis under a key prefix of its own. The caller calls `stop`, which fails when a process will not end.
 */
export async function startGateway(options: GatewayOptions = {}) {
  const own = testRedis()
  const folder = await mkdtemp(join(inject('runFolder'), 'gateway-'))
  const masterKey = `sk-master-${randomBytes(12).toString('hex')}`
  const redisUrl = options.redisUrl ?? own.url
  const redis = openRedis(redisUrl)
  // A test may kill its own Redis: the connection tries again by itself.
  redis.on('error', () => {})
  const keys = createKeys(own.prefix)
  const env: Record<string, string> = {
    ...environment(),
    ...SHORT_TIMES,
    PORT: '0',
    REDIS_URL: redisUrl,
    GATEWAY_KEY_PREFIX: own.prefix,
    GATEWAY_MASTER_KEY: masterKey,
    GATEWAY_ENCRYPTION_KEYS: `k1:${randomBytes(32).toString('base64')}`,
    GATEWAY_ID_SECRET: randomBytes(24).toString('hex'),
    GATEWAY_ALLOWED_CIDRS: '127.0.0.0/8',
    GATEWAY_FILES: `file:${join(folder, 'files')}`,
    ...options.env,
  }
  if (options.config !== undefined) {
    env.GATEWAY_CONFIG = join(folder, 'config.yaml')
    await writeFile(env.GATEWAY_CONFIG, options.config)
  }

  const processes: TestProcess[] = []
  const workers: TestProcess[] = []
  let api: { process: TestProcess; url: string }
  try {
    api = await launchApi()
    for (let count = 0; count < (options.workers ?? 1); count += 1) await addWorker()
  } catch (error) {
    await end().catch(() => {})
    throw error
  }

  async function launch(name: 'api' | 'worker', extra: Record<string, string>): Promise<TestProcess> {
    const file = await entryOf(name)
    const launched = { ...env, ...extra }
    const started = startProcess(process.execPath, [file], { env: launched, cwd: ROOT, endsWithUs: true })
    processes.push(started)
    options.onLaunch?.(started.pid)
    return started
  }

  async function launchApi(extra: Record<string, string> = {}) {
    const started = await launch('api', extra)
    const url = await eventually('the API says where it listens', () => readAddress(started))
    await eventually('the API is ready', async () => (await fetch(`${url}/readyz`)).status === 200)
    return { process: started, url }
  }

  async function replaceApi() {
    api = await launchApi()
  }

  async function addWorker(extra: Record<string, string> = {}): Promise<TestProcess> {
    const started = await launch('worker', extra)
    workers.push(started)
    await eventually('the worker says that it takes jobs', () => isReady(started))
    return started
  }

  const gateway = {
    get url() {
      return api.url
    },
    get api() {
      return api.process
    },
    workers,
    masterKey,
    redisUrl,
    redis,
    keys,
    prefix: own.prefix,
    env,
    /** Where its files lie, unless the test said otherwise. */
    filesFolder: join(folder, 'files'),
    /** Makes a tenant and a gateway key of its own. */
    async tenantKey(tenant: string, settings: ApiKeySettings = {}): Promise<string> {
      const { key } = await createApiKeys({ redis, keys }).create(tenant, settings)
      return key
    },
    addWorker,
    /** All output of all processes, ended ones too. */
    logs: () => processes.map((one) => one.output()).join('\n'),
    /** Starts another API process in place of the last one; its address is new. */
    replaceApi,
    /** Brings back the processes that it began with, whatever has been killed or added since. */
    async mend() {
      const [kept, more] = [await living(workers), options.workers ?? 1]
      for (const one of kept.slice(more)) one.kill('SIGTERM')
      workers.splice(0, workers.length, ...(await living(kept)))
      while (workers.length < more) await addWorker()
      if ((await living([api.process])).length === 0) await replaceApi()
    },

    /** One HTTP call with the master key unless `key` says otherwise. `body` is sent as JSON. */
    async call(method: string, path: string, request: CallOptions = {}): Promise<CallResult> {
      const headers: Record<string, string> = {
        authorization: `Bearer ${request.key ?? masterKey}`,
        ...(request.body === undefined ? {} : { 'content-type': 'application/json' }),
        ...request.headers,
      }
      const body = request.body === undefined ? undefined : JSON.stringify(request.body)
      const response = await fetch(`${api.url}${path}`, { method, headers, body, signal: request.signal })
      const text = await response.text()
      return { status: response.status, headers: response.headers, text, json: parse(text) }
    },

    /** Submits to `/v1/jobs`: `body` is the completion, the rest are job options. */
    async submit(body: object, jobOptions: object = {}, key?: string): Promise<Job> {
      const request = { body: { endpoint: '/v1/chat/completions', body, ...jobOptions }, key }
      const answer = await gateway.call('POST', '/v1/jobs', request)
      if (answer.status !== 202) throw new Error(`Submit was answered ${answer.status}: ${answer.text}`)
      return answer.json as Job
    },

    async job(id: string, key?: string): Promise<Job> {
      const answer = await gateway.call('GET', `/v1/jobs/${id}`, { key })
      if (answer.status !== 200) throw new Error(`Job ${id} was answered ${answer.status}: ${answer.text}`)
      return answer.json as Job
    },

    /** The job once it is terminal, by long-poll. */
    async ended(id: string, { key, timeoutMs }: { key?: string; timeoutMs?: number } = {}): Promise<Job> {
      return eventually(
        `job ${id} ends`,
        async () => {
          const { status, json, text } = await gateway.call('GET', `/v1/jobs/${id}?wait=2`, { key })
          if (status !== 200) throw new Error(`answered ${status}: ${text}`)
          const job = json as Job
          if (!TERMINAL.has(job.status)) throw new Error(`still ${job.status}, ${JSON.stringify(job.queue)}`)
          return job
        },
        { timeoutMs },
      )
    },

    stop: end,
  }

  async function end(): Promise<void> {
    for (const one of processes) if (!one.hasEnded()) one.kill('SIGTERM')
    const ends = await Promise.allSettled(processes.map((one) => one.ended()))
    redis.disconnect()
    await own.cleanup()
    await rm(folder, { recursive: true, force: true })
    const failed = ends.filter((ending) => ending.status === 'rejected').map(({ reason }) => reason as Error)
    if (failed.length > 0) throw new AggregateError(failed, failed[0]?.message)
  }

  return gateway
}

export type Gateway = Awaited<ReturnType<typeof startGateway>>

export type CallOptions = {
  body?: unknown
  key?: string
  headers?: Record<string, string>
  signal?: AbortSignal
}

/** `json` is what the text holds, or undefined when it is not JSON. */
export type CallResult = { status: number; headers: Headers; text: string; json: unknown }

const TERMINAL = new Set(['completed', 'failed', 'cancelled', 'expired'])

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** Those that nobody has sent a signal; the others have ended when this resolves. */
async function living(all: readonly TestProcess[]): Promise<TestProcess[]> {
  const signalled = all.filter(({ child }) => child.killed)
  await Promise.all(signalled.map((one) => one.ended()))
  return all.filter((one) => !one.hasEnded())
}

/** From a log line of its own: `{"address":"http://127.0.0.1:4000", …}`. */
function readAddress(api: TestProcess): string | undefined {
  if (api.hasEnded()) throw new Hopeless(`the API ended: ${api.output()}`)
  return /"address":"(http:[^"]+)"/.exec(api.output())?.[1]
}

function isReady(worker: TestProcess): boolean {
  if (worker.hasEnded()) throw new Hopeless(`the worker ended: ${worker.output()}`)
  return /"msg":"[^"]*(ready|takes jobs|started)/i.test(worker.output())
}
