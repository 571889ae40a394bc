import { randomBytes } from 'node:crypto'
import { createConnection } from 'node:net'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { Redis } from 'ioredis'
import { createKeys } from '../../shared/keys.ts'
import { createApiKeys } from '../../shared/tenants/api-keys.ts'
import { eventually, Hopeless } from '../support/eventually.ts'
import { createFaultProxy, type FaultProxy } from '../support/fault-proxy.ts'
import { startProcess, type TestProcess } from '../support/processes.ts'
import { environment, freePort } from '../support/redis-process.ts'
import { startStorage, type StorageKind } from './storage.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const PREFIX = 'chaos'
const TENANTS = ['acme', 'globex', 'initech']
/** A machine that does many things at once takes its time to start a process. */
const READY_MS = 180_000
const END_MS = 60_000

/** How long things take in a fleet, in milliseconds: those of production, or a tenth of them. */
export type Times = { leaseMs: number; env: Record<string, string> }

const RETENTION = (ms: number) => ({
  GATEWAY_SYNC_RETENTION_MS: '3600000',
  GATEWAY_RESULT_RETENTION_MS: '3600000',
  GATEWAY_BATCH_RETENTION_MS: String(ms),
  GATEWAY_EVENT_RETENTION_MS: String(ms),
  GATEWAY_DELIVERY_RETENTION_MS: String(ms),
})

/** What is configured where nothing is. */
export const LONG_TIMES: Times = { leaseMs: 12_000, env: RETENTION(300_000) }

/** Those of the tests: a dead worker is noticed in about two seconds. */
export const SHORT_TIMES: Times = {
  leaseMs: 2_400,
  env: {
    ...RETENTION(300_000),
    GATEWAY_LOCK_MS: '3000',
    GATEWAY_STALLED_CHECK_MS: '600',
    GATEWAY_LEASE_MS: '2400',
    GATEWAY_HEARTBEAT_MS: '300',
    GATEWAY_SWEEP_MS: '100',
    GATEWAY_DRAIN_MS: '8000',
    GATEWAY_RETRY_INITIAL_MS: '50',
    GATEWAY_WEBHOOK_SCHEDULE_S: '0,0.5,1,2,4,8,8,8,8,8',
    GATEWAY_WEBHOOK_BREAKER_MS: '300',
    GATEWAY_WEBHOOK_RAMP_MS: '300',
  },
}

/** One of our processes, with a proxy of its own between it and Redis. */
export type Member = {
  readonly name: string
  readonly kind: 'api' | 'worker'
  /** Null where Redis itself says where it is (Sentinel). */
  readonly proxy: FaultProxy | null
  process: TestProcess | null
  /** Nobody told it to end: it must run. */
  isWanted: boolean
}

export type FleetOptions = {
  times: Times
  storage: StorageKind
  /** The binary of its Redis; null: whatever is found. */
  redisServer?: string | null
  apis?: number
  workers?: number
  env?: Record<string, string>
}

/**
 * Starts the gateway as an installation has it: API and worker processes, a Redis, and a faulty network between them.
 * APIs keep their addresses when they are started again. The caller stops it.
 */
export async function startFleet(options: FleetOptions) {
  const { times, apis = 2, workers = 3, env: extra } = options
  const folder = await mkdtemp(join(tmpdir(), 'byok-chaos-'))
  const storage = await startStorage(options.storage, options.redisServer ?? null)
  const keys = createKeys(PREFIX)
  const masterKey = `sk-master-${randomBytes(12).toString('hex')}`
  const env: Record<string, string> = {
    // Compiled once, processes start in half of the time: they are started hundreds of times.
    NODE_COMPILE_CACHE: join(ROOT, 'node_modules/.cache/byok-chaos'),
    ...environment(),
    LOG_LEVEL: 'warn',
    GATEWAY_KEY_PREFIX: PREFIX,
    GATEWAY_MASTER_KEY: masterKey,
    GATEWAY_ENCRYPTION_KEYS: `k1:${randomBytes(32).toString('base64')}`,
    GATEWAY_ID_SECRET: randomBytes(24).toString('hex'),
    GATEWAY_ALLOWED_CIDRS: '127.0.0.0/8',
    GATEWAY_FILES: `file:${join(folder, 'files')}`,
    WORKER_CONCURRENCY: '100',
    // The machine that does all of this can stand still for a second; Redis is not away for that.
    GATEWAY_REDIS_TIMEOUT_MS: '3000',
    // A job that many faults hit one after the other is not to end for it: what is looked at is that it ends once.
    GATEWAY_CRASHES_MAX: '50',
    ...times.env,
    ...extra,
  }
  const members: Member[] = []
  const ports = new Map<string, number>()
  const endedByThemselves: string[] = []
  const tenantKeys = new Map<string, string>()

  async function addMember(name: string, memberKind: Member['kind']): Promise<void> {
    const proxy = storage.target === null ? null : await createFaultProxy(storage.target)
    if (memberKind === 'api') ports.set(name, await freePort())
    members.push({ name, kind: memberKind, proxy, process: null, isWanted: false })
  }

  /** Starts a process; it need not be ready. */
  function launch(member: Member): void {
    const own = {
      ...env,
      REDIS_URL: member.proxy?.url ?? storage.url,
      PORT: String(ports.get(member.name) ?? 0),
    }
    const started = startProcess(process.execPath, [`${member.kind}/main.ts`], {
      env: own,
      cwd: ROOT,
      endsWithUs: true,
    })
    member.process = started
    member.isWanted = true
    started.child.once('exit', (code, signal) => {
      if (member.process !== started || !member.isWanted) return
      endedByThemselves.push(`${member.name} ended by itself (${code ?? signal}): ${tailOf(started)}`)
      member.isWanted = false
    })
  }

  /** Heartbeats of workers, those of dead ones for a while too. */
  async function heartbeats(): Promise<string[]> {
    return storage
      .redis()
      .zrange(keys.workers, '0', '-1')
      .catch(() => [])
  }

  async function isReady(member: Member, known: ReadonlySet<string>, count: number): Promise<boolean> {
    if (member.process?.hasEnded()) throw new Hopeless(`${member.name} ended: ${tailOf(member.process)}`)
    if (member.kind === 'api') return (await fetch(`${urlOf(member)}/readyz`)).status === 200
    // Workers have no address: they are there when as many as were started have a heartbeat.
    const fresh = (await heartbeats()).filter((id) => !known.has(id))
    if (fresh.length >= count) return true
    throw new Error(`${fresh.length} of ${count} workers have a heartbeat. ${tailOf(member.process)}`)
  }

  /** Starts those of them that do not run, and waits until they take work. */
  async function start(some: readonly Member[]): Promise<void> {
    const ended = some.filter((member) => !member.isWanted)
    const known = new Set(await heartbeats())
    const count = ended.filter((member) => member.kind === 'worker').length
    for (const member of ended) launch(member)
    await Promise.all(
      ended.map((member) =>
        eventually(`${member.name} is ready`, () => isReady(member, known, count), {
          timeoutMs: READY_MS,
          everyMs: 50,
        }),
      ),
    )
  }

  /** Ends processes: with SIGKILL at once, with SIGTERM once their calls are done. */
  async function end(some: readonly Member[], signal: 'SIGKILL' | 'SIGTERM'): Promise<void> {
    const running = some.filter((member) => member.isWanted)
    for (const member of running) {
      member.isWanted = false
      member.process?.kill(signal)
    }
    await Promise.all(running.map(async (member) => member.process?.ended(END_MS)))
  }

  /** Stands still for so long, as a process does whose event loop is blocked. */
  async function freeze(some: readonly Member[], ms: number): Promise<void> {
    for (const member of some) member.process?.kill('SIGSTOP')
    try {
      await pause(ms)
    } finally {
      for (const member of some) member.process?.kill('SIGCONT')
    }
  }

  function urlOf({ name }: Member): string {
    return `http://127.0.0.1:${ports.get(name) ?? 0}`
  }

  const ofKind = (memberKind: Member['kind']) => members.filter((member) => member.kind === memberKind)

  /** Makes the gateway keys of the tenants, also anew where a Redis lost them. */
  async function makeTenants(): Promise<void> {
    const store = createApiKeys({ redis: storage.redis(), keys })
    for (const tenant of TENANTS) tenantKeys.set(tenant, (await store.create(tenant, {})).key)
  }

  const fleet = {
    members,
    keys,
    storage,
    /** Whether its Redis keeps all that it ever answered. */
    isLossless: options.storage === 'always',
    times,
    masterKey,
    filesFolder: join(folder, 'files'),
    apis: () => ofKind('api'),
    workers: () => ofKind('worker'),
    /** Address of one API or another, in turn by the number given. */
    url(number: number): string {
      const all = ofKind('api')
      const member = all[number % all.length]
      if (!member) throw new Error('There is no API.')
      return urlOf(member)
    },
    tenants: TENANTS,
    keyOf: (tenant: string) => tenantKeys.get(tenant) ?? masterKey,
    makeTenants,
    start,
    end,
    freeze,
    urlOf,
    proxies: (): FaultProxy[] => members.flatMap(({ proxy }) => proxy ?? []),
    redis: (): Redis => storage.redis(),
    /** Since it was asked last: who ended though nobody told them to, and why. */
    takeEnded: () => endedByThemselves.splice(0),
    /** Brings everything up that is down, and takes away whatever stands in the way of Redis. */
    async mend(): Promise<void> {
      for (const proxy of fleet.proxies()) {
        proxy.blackHole(false)
        proxy.delay(0)
        proxy.throttle(null)
      }
      await storage.mend()
      await start(members)
    },
    /** @throws {Error} when a process will not end, or something still listens afterwards. */
    async stop(): Promise<void> {
      try {
        await end(members, 'SIGTERM')
        const heard = await Promise.all([...ports.values()].map(isListening))
        if (heard.includes(true)) throw new Error('An API that has ended still listens.')
      } finally {
        for (const member of members) if (member.process?.hasEnded() === false) member.process.kill('SIGKILL')
        await Promise.all(fleet.proxies().map((proxy) => proxy.close()))
        await storage.stop()
        await rm(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 })
      }
    },
  }

  try {
    for (let number = 1; number <= apis; number += 1) await addMember(`api-${number}`, 'api')
    for (let number = 1; number <= workers; number += 1) await addMember(`worker-${number}`, 'worker')
    await start(members)
    await makeTenants()
  } catch (error) {
    await fleet.stop().catch(() => {})
    throw error
  }
  return fleet
}

export type Fleet = Awaited<ReturnType<typeof startFleet>>

function tailOf(one: TestProcess | null): string {
  return (one?.output() ?? '').slice(-2_000)
}

function isListening(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection(port, '127.0.0.1')
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', () => resolve(false))
  })
}
