import { setTimeout as pause } from 'node:timers/promises'
import { eventually } from '../support/eventually.ts'
import { canCutPower } from '../support/power-cut.ts'
import { call, insist } from './calls.ts'
import type { Play, Scenario } from './scenario.ts'

/** How much a Redis that syncs each second can lose. */
const EVERYSEC_MS = 2_000
/** How far behind a replica can be that has a connection. */
const REPLICA_MS = 1_000
const BACK_MS = 60_000

/** How long it takes until a new job of its own completes, in milliseconds; more than a minute is a broken promise. */
async function untilWorkIsDone({ fleet, upstream, broken, note }: Play, after: string): Promise<void> {
  const from = performance.now()
  const key = fleet.masterKey
  const params = { model: 'openai/gpt-test', api_key: 'sk-probe', api_base: `${upstream.url}/v1` }
  const body = {
    model: 'mine',
    messages: [{ role: 'user', content: `<probe after ${after}>` }],
    user_config: { model_list: [{ model_name: 'mine', litellm_params: params }] },
    job: { result_ttl: 1 },
  }
  const tries = async () => (await call(fleet, 'POST', '/v1/chat/completions', { key, body })).status === 200
  await eventually('a call is answered again', tries, { timeoutMs: 2 * BACK_MS, everyMs: 100 }).catch(
    () => {},
  )
  const tookMs = Math.round(performance.now() - from)
  note(`answered again ${tookMs < BACK_MS ? 'within a minute' : `after ${tookMs} ms`}`)
  if (tookMs > BACK_MS) broken(`it took ${tookMs} ms until work was done again`)
}

/** A power cut of a Redis that syncs each second. */
export const lastSeconds: Scenario = {
  name: 'last-seconds',
  story: '3.24',
  about:
    'the power of a Redis that syncs each second is cut: at most the last 2 s are lost, sending again is safe, and nothing is lost of whoever has durability: fsync',
  storage: 'everysec',
  durable: 'initech',
  async play(play) {
    const { fleet, load, note, broken, isDurable } = play
    await pause(EVERYSEC_MS)
    note(canCutPower() ? 'power cut of Redis' : 'SIGKILL Redis')
    const killedAt = performance.now()
    await (canCutPower() ? fleet.storage.cutPower() : fleet.storage.kill())
    await fleet.storage.restart()
    const backAt = performance.now()
    await untilWorkIsDone(play, 'a power cut')
    // Whoever gave a key sends again what it was told is accepted: it is the same job, or a new one in place of a lost one.
    const late = load.sent.filter(
      ({ order, acceptedAt }) =>
        order.kind === 'keyed' && acceptedAt !== null && acceptedAt > killedAt - 2 * EVERYSEC_MS,
    )
    for (const one of late) {
      const again = await load.submitAgain(one)
      if (again.status >= 300) broken(`${one.order.mark} was answered ${again.status} when it was sent again`)
    }
    return (begunAt, doneAt, tenant) =>
      doneAt > killedAt - EVERYSEC_MS && begunAt < backAt && !(tenant !== null && isDurable(tenant))
  },
}

/** All of Redis is gone while work goes on: what was there is lost, what comes after it is not. */
export const flushAll: Scenario = {
  name: 'flush-all',
  story: '3.1',
  about: 'FLUSHALL under load: work goes on in less than a minute, and nothing is written for what is gone',
  storage: 'everysec',
  env: { LOG_LEVEL: 'error' },
  async play(play) {
    const { fleet, note } = play
    const redis = fleet.redis()
    const [lock] = await redis.keys('chaos:*:lock')
    if (lock !== undefined) await redis.del(lock)
    note('FLUSHALL')
    await redis.flushall()
    const flushedAt = performance.now()
    await untilWorkIsDone(play, 'a flush')
    await fleet.makeTenants()
    return (begunAt) => begunAt < flushedAt
  },
}

/** The master dies; its replica, which is asynchronous, takes its place. */
export const failover: Scenario = {
  name: 'failover',
  story: '3.4',
  about: 'the master of three sentinels is killed: what the replica had not yet is lost, measured apart',
  storage: 'sentinel',
  async play(play) {
    const { fleet, note } = play
    note('SIGKILL the master')
    const killedAt = performance.now()
    await fleet.storage.failOver()
    const backAt = performance.now()
    await untilWorkIsDone(play, 'a failover')
    await insist(fleet, 'GET', '/v1/jobs?limit=1', { key: fleet.masterKey })
    return (begunAt, doneAt) => doneAt > killedAt - REPLICA_MS && begunAt < backAt
  },
}
