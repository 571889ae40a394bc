import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { ask, findFreePort, waitUntil, type Child, type Children, type Helper } from './children.ts'
import {
  checkGateway,
  gatewayRequest,
  project,
  startGateway,
  startRedis,
  type BenchRedis,
} from './gateway.ts'
import { readStatistics } from './redis-statistics.ts'
import { checkOnce, type BenchRequest } from './requests.ts'
import type { Contender } from './rounds.ts'

/** What the contenders are called in tables. */
export const NAMES = { bare: 'bare proxy', portkey: 'portkey', gateway: 'gateway' } as const

const PORTKEY = 'bench/peers/node_modules/@portkey-ai/gateway/build/start-server.js'

/** What each contender is sent. */
export type Sent = {
  /** As a provider takes it. */
  body: Record<string, unknown>
  /** Of the prompt in it, for the gateway, whose body has a `user_config` too. */
  promptBytes: number
  /** Folder for V8 profiles of our API and worker; '' = none. */
  profileFolder: string
}

/** Starts the bare proxy in front of the upstream, and checks one answer. */
export async function startBareProxy(children: Children, upstream: Helper, sent: Sent): Promise<Contender> {
  const file = project('bench/processes/bare-proxy.ts')
  const proxy = await children.startHelper('bare-proxy', file, [upstream.url])
  const headers = { 'content-type': 'application/json', authorization: 'Bearer sk-bench' }
  const body = JSON.stringify(sent.body)
  const request = { url: `${proxy.url}/v1/chat/completions`, headers, body, status: 200 }
  await checkOnce(request)
  return { name: NAMES.bare, request, pids: { proxy: proxy.pid, upstream: upstream.pid } }
}

/**
 * Starts Portkey's gateway in front of the upstream, and checks one answer. It is told what to do by headers, with neither
 * retries nor fallbacks: the least it can be asked for. It trusts loopback hosts unless TRUSTED_CUSTOM_HOSTS says otherwise.
 */
export async function startPortkey(children: Children, upstream: Helper, sent: Sent): Promise<Contender> {
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
    body: JSON.stringify(sent.body),
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

/** How our gateway is started: with which Redis, else one of its own of this name; how many APIs and workers; their environment. */
export type OursOptions = {
  redis?: BenchRedis
  redisName?: string
  processes?: number
  env?: Record<string, string>
}

/** Starts our gateway, one API and one worker unless told otherwise, and checks one answer. */
export async function startOurs(
  children: Children,
  upstream: Helper,
  sent: Sent,
  options: OursOptions = {},
): Promise<Contender> {
  const { redisName, processes = 1, env = {} } = options
  const redis = options.redis ?? (await startRedis(children, redisName))
  const gateway = await startGateway({
    children,
    redisUrls: { api: redis.url, worker: redis.url },
    apis: processes,
    workers: processes,
    profileFolder: sent.profileFolder,
    env,
  })
  const whole = gatewayRequest(gateway, upstream.url, sent.promptBytes, '')
  const body = JSON.stringify({ ...(JSON.parse(whole.body) as object), ...sent.body })
  const request = { ...whole, body, origins: gateway.urls }
  await checkGateway(gateway, request)
  return {
    name: NAMES.gateway,
    request,
    pids: { ...gateway.pids, redis: redis.pid, upstream: upstream.pid },
    counters: () => readStatistics(redis.client),
  }
}

/** Every contender must have called the upstream once a request: neither a cache nor a retry may be measured. */
export function countUpstreamCalls(contender: Contender, upstream: Child): Contender {
  const counters = async () => {
    const { calls } = await ask<{ calls: number }>(upstream, { question: 'calls' }, 10_000)
    return { ...(await contender.counters?.()), 'upstream calls': calls }
  }
  return { ...contender, counters }
}
