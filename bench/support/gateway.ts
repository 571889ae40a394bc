import { randomBytes } from 'node:crypto'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { startEmbeddedRedis } from '../../cli/embedded-redis.ts'
import { createLog } from '../../shared/log.ts'
import { createRedis } from '../../shared/redis.ts'
import { findFreePort, waitUntil, type Child, type Children } from './children.ts'
import { checkOnce, userConfigBody, type BenchRequest } from './requests.ts'

/** Path of a file of this project, from its root. */
export const project = (file: string) => fileURLToPath(new URL(`../../${file}`, import.meta.url))

/** Starts a Redis on a unix socket that appends every command to its file and syncs it once a second. */
export async function startRedis(children: Children, name = 'redis') {
  const dataDir = join(children.folder, name)
  mkdirSync(dataDir)
  const server = await startEmbeddedRedis({ dataDir, appendfsync: 'everysec' })
  children.closeLast(() => server.stop())
  const client = createRedis(server.url, 'blocking', createLog('warn', 'bench'))
  children.closeLast(() => client.quit())
  return { pid: server.pid, url: server.url, socket: server.socket, client }
}

export type BenchRedis = Awaited<ReturnType<typeof startRedis>>

/** How our own gateway is started. */
export type GatewayOptions = {
  children: Children
  /** Of the API, and of the worker: not the same where the two go to Redis by different ways. */
  redisUrls: { api: string; worker: string }
  /** How many processes; 1 unless given. */
  apis?: number
  workers?: number
  /** Folder for V8 profiles, '' or none = no profiles. */
  profileFolder?: string
  nodeArgs?: string[]
  env?: Record<string, string>
}

/**
 * Starts API and worker processes as in production, and waits until each API says that it is ready. `api` and `worker` are
 * the first ones; `url` is that of the first API.
 */
export async function startGateway(options: GatewayOptions) {
  const { children, redisUrls, profileFolder = '' } = options
  const masterKey = `sk-bench-${randomBytes(16).toString('hex')}`
  const env = {
    GATEWAY_MASTER_KEY: masterKey,
    GATEWAY_ENCRYPTION_KEYS: `bench:${randomBytes(32).toString('base64')}`,
    GATEWAY_ID_SECRET: randomBytes(24).toString('hex'),
    GATEWAY_ALLOWED_CIDRS: '127.0.0.0/8',
    GATEWAY_FILES: `file:${join(children.folder, 'files')}`,
    // Redis is not away when the machine stands still.
    GATEWAY_REDIS_TIMEOUT_MS: '10000',
    ...options.env,
  }
  const profile = profileFolder === '' ? [] : ['--cpu-prof', `--cpu-prof-dir=${profileFolder}`]
  const nodeArgs = [...profile, ...(options.nodeArgs ?? [])]
  const start = (name: string, more: Record<string, string>) =>
    children.start(name, project(`${name}/main.ts`), { env: { ...env, ...more }, nodeArgs })
  const startApi = async () => {
    const port = await findFreePort()
    const child = start('api', { REDIS_URL: redisUrls.api, PORT: String(port) })
    const url = `http://127.0.0.1:${port}`
    await waitUntil('the API is ready', [child], async () => (await fetch(`${url}/readyz`)).ok)
    return { child, url }
  }

  const first = await startApi()
  const apis = [first]
  while (apis.length < (options.apis ?? 1)) apis.push(await startApi())
  const startWorker = () => start('worker', { REDIS_URL: redisUrls.worker })
  const workers = Array.from({ length: options.workers ?? 1 }, startWorker)
  return {
    url: first.url,
    urls: apis.map(({ url }) => url),
    masterKey,
    api: first.child,
    worker: workers[0] ?? null,
    /** Starts one more; it is not among the pids. */
    startWorker,
    /** Of all its processes, by name. */
    pids: { ...pidsOf('api', apis.map(({ child }) => child)), ...pidsOf('worker', workers) }, // oxfmt-ignore
  }
}

// The first of a kind is called by its kind alone.
function pidsOf(kind: string, children: readonly Child[]): Record<string, number> {
  return Object.fromEntries(children.map(({ pid }, at) => [at === 0 ? kind : `${kind} ${at + 1}`, pid]))
}

export type Gateway = Awaited<ReturnType<typeof startGateway>>

/** A completion with its own `user_config`; `prefer` as in the header of that name, '' = wait for the result. */
export function gatewayRequest(
  gateway: Gateway,
  upstream: string,
  promptBytes: number,
  prefer: string,
): BenchRequest {
  return {
    url: `${gateway.url}/v1/chat/completions`,
    headers: {
      'content-type': 'application/json',
      authorization: `Bearer ${gateway.masterKey}`,
      ...(prefer === '' ? {} : { prefer }),
    },
    body: JSON.stringify(userConfigBody(promptBytes, upstream)),
    status: prefer === '' ? 200 : 202,
  }
}

/**
 * Sends one completion through API, queue and worker.
 * @throws an Error with the last output of both when none comes back.
 */
export async function checkGateway(gateway: Gateway, request: BenchRequest): Promise<void> {
  const involved: Child[] = gateway.worker ? [gateway.api, gateway.worker] : [gateway.api]
  await waitUntil('a completion comes back through the gateway', involved, async () =>
    Boolean(await checkOnce(request)),
  )
}
