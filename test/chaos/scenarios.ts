import { FAULTS, type FaultName } from './faults.ts'
import type { Scenario } from './scenario.ts'
import { asleep, closedSocket, drain, pollers } from './scenarios-calls.ts'
import { failover, flushAll, lastSeconds } from './scenarios-loss.ts'

/** What a storm draws from: all that one Redis with an fsync for each write must survive without any loss. */
const WEATHER: readonly FaultName[] = [
  'kill-worker',
  'kill-worker',
  'kill-api',
  'kill-all',
  'block-10s',
  'block-40s',
  'block-api',
  'block-workers',
  'reset-one',
  'reset-all',
  'black-hole',
  'black-hole-all',
  'half-open',
  'slow-network',
  'narrow-network',
  'restart-redis',
  'memory-full',
  'lose-locks',
  'roll-one',
  'receiver-down',
]

const storm: Scenario = {
  name: 'storm',
  about: 'any of these faults, one after the other, as chance has it',
  async play(play) {
    const often = play.times(30, 8)
    for (let count = 0; count < often; count += 1) await FAULTS[play.random.pick(WEATHER)](play)
  },
}

/** All scenarios, in the order in which they are played; those that share a fleet stand together. */
export const SCENARIOS: readonly Scenario[] = [
  { name: 'steady', about: 'nothing is broken: what is measured against' },
  {
    name: 'kill-worker',
    story: '1.4',
    about: 'workers are killed',
    faults: ['kill-worker'],
    repeat: [12, 2],
  },
  { name: 'kill-api', story: '1.4', about: 'APIs are killed', faults: ['kill-api'], repeat: [8, 1] },
  {
    name: 'kill-all',
    story: '1.4',
    about: 'all processes are killed at once',
    faults: ['kill-all'],
    repeat: [4, 1],
  },
  {
    name: 'blocked-loop',
    story: '3.8',
    about: 'event loops stand still for 10 s and for 40 s: of a worker, an API, all workers',
    faults: ['block-10s', 'block-40s', 'block-api', 'block-workers'],
  },
  {
    name: 'resets',
    story: '3.5',
    about: 'connections to Redis are reset, one by one and all at once',
    faults: ['reset-one', 'reset-one', 'reset-one', 'reset-one', 'reset-all'],
    repeat: [20, 2],
  },
  {
    name: 'network',
    story: '3.4',
    about: 'Redis is far away, thin, half open, and for 5 s behind a black hole',
    faults: ['slow-network', 'narrow-network', 'half-open', 'black-hole'],
    repeat: [2, 1],
  },
  {
    name: 'outage',
    story: '3.4',
    about: 'Redis is away for 45 s, behind a black hole and killed',
    faults: ['black-hole-all', 'redis-away'],
  },
  {
    name: 'restart-redis',
    story: '3.24',
    about: 'Redis is killed and started again; it syncs each write: nothing is lost',
    faults: ['restart-redis'],
    repeat: [8, 2],
  },
  {
    name: 'memory-full',
    story: '3.2',
    about: 'Redis is at its maxmemory for a while',
    faults: ['memory-full'],
    repeat: [3, 1],
  },
  {
    name: 'lost-locks',
    story: '3.1',
    about: 'all lock keys of the queues are deleted, as by an eviction',
    faults: ['lose-locks'],
    repeat: [6, 2],
  },
  {
    name: 'rolling-restart',
    story: '3.23',
    about: 'every process is replaced, 20 times',
    faults: ['roll-all'],
    repeat: [20, 1],
  },
  {
    name: 'mid-submit',
    story: '3.20',
    about: 'everything is killed while clients submit with idempotency keys: one job for each key',
    mix: { sync: 0, stream: 0, async: 0, keyed: 100, batch: 1 },
    faults: ['kill-all', 'restart-redis'],
    repeat: [4, 1],
  },
  {
    name: 'receiver-down',
    story: '3.18',
    about: 'the receiver of webhooks is down for a while',
    faults: ['receiver-down'],
    repeat: [2, 1],
  },
  closedSocket,
  drain,
  pollers,
  storm,
  asleep,
  {
    name: 'disk-full',
    story: '3.3',
    about: 'Redis can write nothing down: nothing is accepted, and nothing is lost',
    storage: 'everysec',
    faults: ['disk-full'],
    repeat: [3, 1],
  },
  lastSeconds,
  flushAll,
  failover,
]
