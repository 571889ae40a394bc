import { setTimeout as pause } from 'node:timers/promises'
import { readdir } from 'node:fs/promises'
import { join, relative, sep } from 'node:path'
import { z } from 'zod'
import { parseAccount } from '../../shared/tenants/accounts.ts'
import { oddKeys, type LeftKey } from '../support/at-rest.ts'
import { jobsOf } from './audit.ts'
import { insist } from './calls.ts'
import type { Fleet } from './fleet.ts'

/** Kept for its own time after its end: batches with their files, events, deliveries and how their targets behave. */
const KEPT =
  /^(batch|batch-index|file|files|file-keys|files-due|files-use|batch-due|event|events|delivery|deliveries|deliveries-due|endpoint-deliveries|target)(:|$)/

/** How a target of deliveries that failed behaves: it is remembered for a month. */
const STANDING = /^target:/

const Files = z.looseObject({ data: z.array(z.looseObject({ id: z.string() })) })
/** What a killed API, or one without Redis, could not take back: it goes by itself. */
const FOUND_AGAIN = /^left: orphans:/
const DELETES_AT_ONCE = 8

/** Takes all jobs and files away, as their owners can: what is still there of them then is left behind. */
export async function deleteAll(fleet: Fleet): Promise<void> {
  // And those of the rig's own, which it made with the master key.
  for (const key of [...fleet.tenants.map(fleet.keyOf), fleet.masterKey]) {
    const jobs = await jobsOf(fleet, key)
    const listed = await insist(fleet, 'GET', '/v1/files?limit=1000', { key })
    const left = [
      ...jobs.map(({ id }) => `/v1/jobs/${id}`),
      ...Files.parse(listed.json).data.map(({ id }) => `/v1/files/${id}`),
    ]
    const work = Array.from({ length: DELETES_AT_ONCE }, async (_, api) => {
      for (let path = left.pop(); path; path = left.pop()) await insist(fleet, 'DELETE', path, { key, api })
    })
    await Promise.all(work)
  }
}

/**
 * What is left of jobs, batches and deliveries that have all ended, in words: nothing, or it is a fault.
 * @param isOver Whether the time of what is kept is over as well.
 * @param isCalm Whether nothing was broken: then no answer was lost on its way, and no call is kept to be found again.
 * @param patienceMs How long it may take until nothing is left.
 */
export async function findLeftovers(
  fleet: Fleet,
  { isOver, isCalm, patienceMs }: { isOver: boolean; isCalm: boolean; patienceMs: number },
): Promise<string[]> {
  const giveUpAt = performance.now() + patienceMs
  for (;;) {
    const left = (await leftNow(fleet, isOver)).filter((text) => isCalm || !FOUND_AGAIN.test(text))
    if (left.length === 0 || performance.now() > giveUpAt) {
      if (!isCalm) await forgetFoundAgain(fleet)
      return left
    }
    await pause(250)
  }
}

/** They would be taken for what a later scenario leaves, which may break nothing. */
async function forgetFoundAgain(fleet: Fleet): Promise<void> {
  const redis = fleet.redis()
  const odd = await oddKeys(redis, 'chaos')
  for (const { key, name } of odd) if (FOUND_AGAIN.test(`left: ${name}`)) await redis.del(key)
}

async function leftNow(fleet: Fleet, isOver: boolean): Promise<string[]> {
  const redis = fleet.redis()
  const odd = await oddKeys(redis, 'chaos')
  const uploads = await uploadsGivenUp(fleet)
  const isKept = ({ key, name, isFading }: LeftKey) =>
    isOver ? uploads.keys.has(key) || (isFading && STANDING.test(name)) : KEPT.test(name)
  const keys = odd.filter((key) => !isKept(key)).map(({ name }) => `left: ${name}`)
  const files = isOver ? await filesLeft(fleet, uploads.ids) : []
  return [...keys, ...files, ...(await accountsLeft(fleet, isOver)), ...(await placesLeft(fleet))]
}

/** Files whose upload broke off: they are given up after two hours, and until then stand in the set of what is to be looked at. */
async function uploadsGivenUp(fleet: Fleet): Promise<{ ids: Set<string>; keys: Set<string> }> {
  const redis = fleet.redis()
  const ids = await redis.zrange(fleet.keys.filesDue, '0', '-1')
  const sources = await Promise.all(ids.map((id) => redis.hget(fleet.keys.file(id), 'source')))
  const coming = ids.filter((_, at) => sources[at] === 'coming')
  const isAll = coming.length === ids.length && ids.length > 0
  const keys = [...coming.map((id) => fleet.keys.file(id)), ...(isAll ? [fleet.keys.filesDue] : [])]
  return { ids: new Set(coming), keys: new Set(keys) }
}

/** Bytes in the store whose time is over. */
async function filesLeft(fleet: Fleet, coming: ReadonlySet<string>): Promise<string[]> {
  // A record that Redis lost leaves bytes that nobody can tell from those of a file to come.
  if (!fleet.isLossless) return []
  const entries = await readdir(fleet.filesFolder, { recursive: true, withFileTypes: true }).catch(() => [])
  return entries
    .filter((entry) => entry.isFile())
    .map(({ parentPath, name }) => join(relative(fleet.filesFolder, parentPath), name))
    .filter((path) => !coming.has(path.split(sep)[1] ?? ''))
    .map((path) => `left in the store: ${path}`)
}

/** Accounts that still count something; bytes of batches count as long as these are kept. */
async function accountsLeft(fleet: Fleet, isOver: boolean): Promise<string[]> {
  const redis = fleet.redis()
  const names = await redis.keys(`${fleet.keys.accountPrefix}*`)
  const wrong = names.map(async (name) => {
    if (name === fleet.keys.account('*')) {
      const reserved = Number(await redis.hget(name, 'reserved'))
      return reserved === 0 ? [] : [`account of all: ${reserved} bytes reserved`]
    }
    const { live, reserved, held, bytes, ended } = parseAccount(await redis.get(name))
    const counts = isOver ? { live, reserved, held, bytes, ended } : { live, reserved, held }
    const isZero = Object.values(counts).every((count) => count === 0)
    return isZero ? [] : [`${name.slice(fleet.keys.accountPrefix.length)} counts ${JSON.stringify(counts)}`]
  })
  const busy = await redis.hgetall(fleet.keys.batchBusy)
  const lines = Object.entries(busy).filter(([, count]) => count !== '0')
  return [...(await Promise.all(wrong)).flat(), ...lines.map(([who, count]) => `batch-busy: ${who} ${count}`)]
}

/** Places at deployments that are held, and those who stand in line for one: such keys go by themselves, but slowly. */
async function placesLeft(fleet: Fleet): Promise<string[]> {
  const redis = fleet.redis()
  const keys: string[] = []
  for (const kind of ['fly', 'line']) {
    for await (const found of redis.scanStream({ match: `chaos:{o-*}:${kind}:*`, count: 1000 }))
      keys.push(...(found as string[]))
  }
  const counts = await Promise.all(
    keys.map(async (key) => ({
      key,
      // Leases that have run out hold nobody up; the next call takes them away.
      held: key.includes(':fly:') ? await redis.zcount(key, Date.now(), '+inf') : await redis.zcard(key),
    })),
  )
  return counts.filter(({ held }) => held > 0).map(({ key, held }) => `${key}: ${held} held`)
}
