import { setTimeout as pause } from 'node:timers/promises'
import { z } from 'zod'
import { eventually } from '../support/eventually.ts'
import { call, insist } from './calls.ts'
import type { Fleet, Member } from './fleet.ts'
import type { Inbox } from './inbox.ts'
import type { Random } from './random.ts'

/** Where faults are played. */
export type Stage = {
  fleet: Fleet
  inbox: Inbox
  /** What is broken, and how, is drawn from it. */
  random: Random
  /** Notes a fault, for the report: the same row of them for the same seed. */
  note: (fault: string) => void
  /** Says that a promise was not kept. */
  broken: (text: string) => void
}

const NOTICED_MS = 30_000

export type Fault = (stage: Stage) => Promise<void>

const some = ({ random }: Stage, members: readonly Member[]): Member => random.pick(members)
const workerOf = (stage: Stage) => some(stage, stage.fleet.workers())
const apiOf = (stage: Stage) => some(stage, stage.fleet.apis())
const anyOf = (stage: Stage) => some(stage, stage.fleet.members)

/** Killed, and started again by whoever looks after it. */
async function killed(stage: Stage, members: readonly Member[]): Promise<void> {
  stage.note(`SIGKILL ${members.map(({ name }) => name).join(' ')}`)
  await stage.fleet.end(members, 'SIGKILL')
  await stage.fleet.start(members)
}

async function frozen(stage: Stage, members: readonly Member[], ms: number): Promise<void> {
  stage.note(`SIGSTOP ${members.map(({ name }) => name).join(' ')} for ${ms} ms`)
  await stage.fleet.freeze(members, ms)
}

/** Deployed anew: it ends when its calls are done, and a new one takes its place. */
async function replaced(stage: Stage, member: Member): Promise<void> {
  stage.note(`SIGTERM ${member.name}`)
  await stage.fleet.end([member], 'SIGTERM')
  await stage.fleet.start([member])
}

/** Swallows all that is said to Redis, of one process or of all, and then lets new connections through. */
async function swallowed(stage: Stage, members: readonly Member[], ms: number): Promise<void> {
  stage.note(`black hole before ${members.map(({ name }) => name).join(' ')} for ${ms} ms`)
  for (const { proxy } of members) proxy?.blackHole(true)
  await pause(ms)
  for (const { proxy } of members) proxy?.blackHole(false)
}

/** Until Redis answers again, and the APIs say so. */
async function isBack({ fleet }: Stage): Promise<void> {
  await insist(fleet, 'GET', '/v1/jobs?limit=1', { key: fleet.masterKey })
}

const Readiness = z.looseObject({ storage: z.string() })

/** The APIs say that nothing more can be stored, so that nobody is told that something was. */
async function refusesWith({ fleet, broken }: Stage, storage: 'full' | 'readonly'): Promise<void> {
  const said = async (api: number) => {
    const answer = await call(fleet, 'GET', '/readyz', { key: fleet.masterKey, api })
    return Readiness.safeParse(answer.json).data?.storage === storage
  }
  const all = Promise.all(
    fleet
      .apis()
      .map((_, api) =>
        eventually(`an API says that its storage is ${storage}`, () => said(api), { timeoutMs: NOTICED_MS }),
      ),
  )
  await all.catch((error: Error) => broken(error.message))
}

/** Every single thing that can go wrong, by name. Times are those of production or of tests: multiples of a lease (12 s, 2.4 s). */
export const FAULTS = {
  'kill-worker': (stage) => killed(stage, [workerOf(stage)]),
  'kill-api': (stage) => killed(stage, [apiOf(stage)]),
  'kill-all': (stage) => killed(stage, stage.fleet.members),

  /** Shorter than a lease: nobody is taken for dead. */
  'block-10s': (stage) => frozen(stage, [workerOf(stage)], (stage.fleet.times.leaseMs * 10) / 12),
  /** Longer: its jobs go to others, while its own calls come back to life. */
  'block-40s': (stage) => frozen(stage, [workerOf(stage)], (stage.fleet.times.leaseMs * 40) / 12),
  'block-api': (stage) => frozen(stage, [apiOf(stage)], (stage.fleet.times.leaseMs * 10) / 12),
  'block-workers': (stage) => frozen(stage, stage.fleet.workers(), (stage.fleet.times.leaseMs * 40) / 12),

  async 'reset-one'(stage) {
    const { name, proxy } = anyOf(stage)
    stage.note(`reset a connection of ${name}`)
    proxy?.resetRandom(() => stage.random.next())
    await pause(stage.random.between(5, 50))
  },
  async 'reset-all'(stage) {
    stage.note('reset all connections')
    for (const proxy of stage.fleet.proxies()) proxy.resetAll()
    await pause(200)
  },
  'black-hole': (stage) => swallowed(stage, [anyOf(stage)], (stage.fleet.times.leaseMs * 5) / 12),
  'black-hole-all': (stage) => swallowed(stage, stage.fleet.members, (stage.fleet.times.leaseMs * 45) / 12),
  async 'half-open'(stage) {
    const { name, proxy } = anyOf(stage)
    stage.note(`half open: ${name} hears nothing more on its connections`)
    proxy?.halfOpen()
    await pause(stage.fleet.times.leaseMs / 2)
  },
  async 'slow-network'(stage) {
    const [member, ms] = [anyOf(stage), stage.random.between(20, 120)]
    stage.note(`${member.name} is ${ms} ms from Redis`)
    member.proxy?.delay(ms)
    await pause(stage.fleet.times.leaseMs / 2)
    member.proxy?.delay(0)
  },
  async 'narrow-network'(stage) {
    const member = anyOf(stage)
    stage.note(`${member.name} gets 100 kB a second`)
    member.proxy?.throttle(100_000)
    await pause(stage.fleet.times.leaseMs / 2)
    member.proxy?.throttle(null)
  },

  async 'restart-redis'(stage) {
    stage.note('SIGKILL Redis')
    await stage.fleet.storage.kill()
    await pause(stage.random.between(0, 500))
    await stage.fleet.storage.restart()
    await isBack(stage)
  },
  async 'redis-away'(stage) {
    const ms = (stage.fleet.times.leaseMs * 45) / 12
    stage.note(`SIGKILL Redis, away for ${ms} ms`)
    await stage.fleet.storage.kill()
    await pause(ms)
    await stage.fleet.storage.restart()
    await isBack(stage)
  },
  async 'memory-full'(stage) {
    stage.note('maxmemory 1 MB')
    await stage.fleet.redis().config('SET', 'maxmemory', '1mb')
    await refusesWith(stage, 'full')
    await pause(stage.fleet.times.leaseMs / 2)
    await stage.fleet.redis().config('SET', 'maxmemory', '0')
    await isBack(stage)
  },
  async 'disk-full'(stage) {
    stage.note('no file of Redis may grow')
    await stage.fleet.storage.fillDisk(true)
    await refusesWith(stage, 'readonly')
    await pause(stage.fleet.times.leaseMs / 2)
    await stage.fleet.storage.fillDisk(false)
    await isBack(stage)
  },
  async 'lose-locks'(stage) {
    const redis = stage.fleet.redis()
    const locks: string[] = []
    for await (const found of redis.scanStream({ match: 'chaos:*:lock', count: 1000 }))
      locks.push(...(found as string[]))
    if (locks.length > 0) await redis.unlink(...locks)
    stage.note('all of the queues’ locks are deleted')
    await pause(stage.fleet.times.leaseMs / 4)
  },

  'roll-one': (stage) => replaced(stage, anyOf(stage)),
  async 'roll-all'(stage) {
    for (const member of stage.fleet.members) await replaced(stage, member)
  },
  async 'receiver-down'(stage) {
    stage.note('the receiver of webhooks refuses all')
    stage.inbox.down(true)
    await pause(stage.fleet.times.leaseMs / 2)
    stage.inbox.down(false)
  },
} satisfies Record<string, Fault>

export type FaultName = keyof typeof FAULTS
