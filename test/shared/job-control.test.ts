import { afterEach, beforeEach, expect, test } from 'vitest'
import { parseAccount } from '../../shared/tenants/accounts.ts'
import type { Claim } from '../../shared/jobs/claims.ts'
import type { FedJob } from '../../shared/jobs/queues.ts'
import { testStore, type TestStore } from '../support/store.ts'

let store: TestStore
beforeEach(() => {
  store = testStore()
})
afterEach(() => store.cleanup())

async function submit(change: Parameters<TestStore['jobInput']>[0] = {}): Promise<string> {
  const result = await store.jobs.create(store.jobInput(change))
  if (result.kind !== 'created') throw new Error(result.kind)
  return result.id
}

async function claimed(job: FedJob | undefined): Promise<Claim> {
  if (!job) throw new Error('nothing was queued')
  const result = await store.claims.claim(job)
  if (result.kind !== 'claimed') throw new Error(`not claimed: ${result.kind}`)
  return result.claim
}

function complete({ id, subject, token }: Claim) {
  const out = store.sealer.seal({ tenant: subject.tenant, kind: 'job', id, field: 'out' }, '{"text":"it"}')
  const ended = { out, statusCode: 200 }
  return store.settle.settle(subject, 'complete', token, 'completed', null, '', ended)
}

const obey = ({ subject, token }: Claim) =>
  store.settle.settle(subject, 'claim', token, 'cancelled', null, '')

/** A few round trips: who comes first differs from round to round. */
async function someTurns(): Promise<void> {
  const turns = Math.floor(Math.random() * 8)
  for (let turn = 0; turn < turns; turn += 1) await store.redis.ping()
}

const racing = <Result>(contenders: (() => Promise<Result>)[]): Promise<Result[]> =>
  Promise.all(contenders.map((run) => someTurns().then(run)))

test('of 200 cancels that race a completion each has one winner, whose end and result it is', async () => {
  const statuses = new Map<string, number>()
  for (let round = 0; round < 200; round += 1) {
    const webhook = { url: 'https://hook.example/' }
    const id = await submit({ webhook })
    const claim = await claimed(store.queued.pop())
    // Not before the cancel was heard: a worker that ends a job as cancelled was told to.
    const cancel = () => store.jobs.cancel('acme', id).then(() => obey(claim))
    const ends = await racing([cancel, () => complete(claim), () => store.settle.free(id, 'expired').then(
      ({ result }) => result,
    )]) // oxfmt-ignore
    expect(ends.filter(({ kind }) => kind === 'settled')).toHaveLength(1)
    const view = await store.jobs.read('acme', id)
    const status = view?.job.status ?? 'gone'
    expect(['completed', 'cancelled']).toContain(status)
    expect(view?.result !== null).toBe(status === 'completed')
    statuses.set(status, (statuses.get(status) ?? 0) + 1)
  }
  // Both were seen to win, and each job was counted, and is to be told of, once.
  expect([...statuses.keys()].toSorted()).toEqual(['cancelled', 'completed'])
  expect(await store.redis.llen(store.keys.usageNews)).toBe(200)
  expect(await store.redis.zcard(store.keys.announce)).toBe(200)
  expect(await store.redis.zcard(store.keys.window)).toBe(0)
  expect(await store.redis.exists(store.keys.busy)).toBe(0)
})

test('a job that is deleted while it runs leaves nothing behind, whatever its worker writes meanwhile', async () => {
  for (let round = 0; round < 60; round += 1) {
    const id = await submit({ keepsRequest: true, asked: { num_retries: 1 } })
    const claim = await claimed(store.queued.pop())
    const { append } = store.streamOf('acme', id)
    const piece = { number: 1, bytes: Buffer.from('data: 1\n\n') }
    await racing<unknown>([
      () => store.jobs.remove('acme', id),
      () => store.claims.start(claim, ['log', '']),
      () => append(claim.token, piece, 60_000),
      () => store.claims.snooze(claim, 1_000, 'rate_limited', []),
      () => (round % 2 === 0 ? complete(claim) : obey(claim)),
    ])
    expect(await store.jobs.read('acme', id)).toBeNull()
    // What its worker does once it has heard of it, and the sweeper behind that.
    await Promise.all([obey(claim), store.claims.renew([claim])])
    for (const due of await store.window.due()) await store.window.forget(due.id, due.tenant)
    expect(await traces(id)).toEqual([])
  }
  const account = parseAccount(await store.redis.get(store.keys.account('acme')))
  expect(account).toMatchObject({ live: 0, bytes: 0, reserved: 0, held: 0 })
})

/** Keys that are named by a job, and sorted sets that it stands in. */
async function traces(id: string): Promise<string[]> {
  const { keys, redis } = store
  const named = await redis.keys(`${store.prefix}*${id}*`)
  const line = keys.waiting('acme', store.ids.ownerId('acme', null))
  const sets = [keys.index('acme'), keys.window, keys.due, keys.parked, keys.announce, line]
  const scores = await Promise.all(sets.map((set) => redis.zscore(set, id)))
  return [...named, ...sets.filter((_, at) => scores[at] !== null)]
}

test('from its removal on nobody finds a job that a worker still holds, and its payload is gone', async () => {
  const id = await submit({ keepsRequest: true })
  const claim = await claimed(store.queued.pop())
  expect(await store.jobs.remove('other', id)).toBe(false)
  expect(await store.jobs.remove('acme', id)).toBe(true)
  expect(await store.jobs.read('acme', id)).toBeNull()
  expect(await store.jobs.readRequest('acme', id)).toBeNull()
  expect(await store.jobs.cancel('acme', id)).toBeNull()
  expect(await store.jobs.remove('acme', id)).toBe(false)
  expect((await store.jobs.list('acme', { limit: 10, order: 'desc' }))?.jobs).toEqual([])
  const left = await store.redis.hkeys(store.keys.job(id))
  expect(left.filter((field) => ['req', 'cred', 'kept', 'hook', 'asked'].includes(field))).toEqual([])
  // A second claim, after the death of the worker, is told to end it.
  expect(await store.claims.renew([claim])).toEqual(new Map([[id, 'cancelling']]))
})

test('a removal takes the result out of what is still to be told of the job', async () => {
  const id = await submit({ delayMs: 60_000 })
  const delivery = store.keys.delivery(store.ids.deliveryId(store.ids.eventId(id, 'job.completed'), 'job'))
  await store.redis.hset(delivery, 'state', 'pending', 'body', 'sealed, with the result')
  await store.jobs.remove('acme', id)
  expect(await store.redis.hgetall(delivery)).toEqual({ state: 'pending' })
})

test('a job is run again once, also when many ask at once; again once the new one is gone', async () => {
  const old = await submit()
  const claim = await claimed(store.queued.pop())
  await store.settle.settle(claim.subject, 'claim', claim.token, 'failed', null, '')
  const inputs = Array.from({ length: 20 }, () => store.jobInput({ retryOf: old }))
  const results = await Promise.all(inputs.map((input) => store.jobs.create(input)))
  const [made, ...others] = results.flatMap((result) => (result.kind === 'created' ? [result.id] : []))
  expect(others).toEqual([])
  expect(results.filter(({ kind }) => kind !== 'created')).toEqual(
    Array.from({ length: 19 }, () => ({ kind: 'retried', id: made })),
  )
  expect((await store.jobs.read('acme', old))?.job.retried_by).toBe(made)
  expect((await store.jobs.read('acme', made ?? ''))?.job.retry_of).toBe(old)
  await store.jobs.remove('acme', made ?? '')
  const again = await store.jobs.create(store.jobInput({ retryOf: old }))
  expect(again.kind).toBe('created')
})

test('a place in line counts the customer’s own jobs; with several priorities it goes by their shares', async () => {
  await store.redis.set(store.keys.slots, 1)
  const rest = Array.from({ length: 40 }, () => submit())
  await Promise.all(rest)
  const own = { customer: 'carol' }
  const ids = [await submit(own), await submit(own), await submit(own)]
  const positions = await Promise.all(ids.map(positionOf))
  expect(positions).toEqual([1, 2, 3])
  // One low turn comes after eight high and four normal ones, if there are so many.
  const low = await submit({ ...own, priority: 'low' })
  expect(await positionOf(low)).toBe(4)
  for (let count = 0; count < 30; count += 1) await submit({ ...own, priority: 'normal' })
  expect(await positionOf(low)).toBe(5)
  expect(await positionOf(await submit({ ...own, priority: 'high' }))).toBe(1)
  expect(await positionOf(await submit({ ...own, delayMs: 60_000 }))).toBeNull()
  await claimed(store.queued.shift())
})

async function positionOf(id: string): Promise<number | null> {
  const view = await store.jobs.read('acme', id)
  if (!view) throw new Error('There is no such job.')
  return store.jobs.positionOf(view)
}
