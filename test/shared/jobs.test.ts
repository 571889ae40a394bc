import { afterEach, beforeEach, expect, test } from 'vitest'
import type { Claim } from '../../shared/jobs/claims.ts'
import { formatLog } from '../../shared/jobs/record-texts.ts'
import type { FedJob } from '../../shared/jobs/queues.ts'
import { endError } from '../../shared/jobs/settle.ts'
import type { Attempt } from '../../shared/schemas/job.ts'
import { createWindow } from '../../shared/jobs/window.ts'
import { openAttempt } from '../../worker/attempt.ts'
import { eventually } from '../support/eventually.ts'
import { testDeployment, testPlan, testStore, type TestStore } from '../support/store.ts'

let store: TestStore
beforeEach(() => {
  store = testStore({ leaseMs: 2_000 })
})
afterEach(() => store.cleanup())

async function submit(change: Parameters<TestStore['jobInput']>[0] = {}): Promise<string> {
  const result = await store.jobs.create(store.jobInput(change))
  if (!('id' in result)) throw new Error(result.kind)
  return result.id
}

async function claimed(job: FedJob | undefined): Promise<Claim> {
  if (!job) throw new Error('nothing was queued')
  const result = await store.claims.claim(job)
  if (result.kind !== 'claimed') throw new Error(`not claimed: ${result.kind}`)
  return result.claim
}

function complete(claim: Claim, text = 'the answer') {
  const place = { tenant: claim.subject.tenant, kind: 'job' as const, id: claim.id, field: 'out' }
  const out = store.sealer.seal(place, JSON.stringify({ text }))
  const ended = { out, statusCode: 200 }
  return store.settle.settle(claim.subject, 'complete', claim.token, 'completed', null, '', ended)
}

test('a new job is readable at once, and by its tenant only', async () => {
  const id = await submit({ metadata: { order: '7' }, customer: 'c1' })
  const view = await store.jobs.read('acme', id)
  expect(view?.job).toMatchObject({
    id,
    status: 'queued',
    customer: 'c1',
    metadata: { order: '7' },
    attempts: [],
  })
  expect(await store.jobs.read('other', id)).toBeNull()
})

test('no credential, prompt or result is readable in any value that Redis holds', async () => {
  const id = await submit({ webhook: { url: 'https://hook.example/secret-path', secret: 'whsec_c2VjcmV0' } })
  await complete(await claimed(store.queued[0]), 'canary-result')
  await submit()
  const dump: string[] = []
  for (const key of await store.redis.keys(`${store.prefix}:*`)) {
    dump.push(key)
    if ((await store.redis.type(key)) === 'hash') dump.push(...Object.values(await store.redis.hgetall(key)))
    if ((await store.redis.type(key)) === 'string') dump.push((await store.redis.get(key)) ?? '')
  }
  expect(dump.join('\n')).not.toMatch(/sk-secret-of-one|the prompt|canary-result|secret-path|c2VjcmV0/)
  expect((await store.jobs.read('acme', id))?.result?.body.toString()).toContain('canary-result')
})

test('settling erases the credentials in the same step, and ends the job only once', async () => {
  const id = await submit()
  const claim = await claimed(store.queued[0])
  expect(await store.redis.hexists(store.keys.job(id), 'cred')).toBe(1)
  expect(await complete(claim, 'first')).toEqual({ kind: 'settled', tenantsWaiting: 0, isTold: false })
  expect(await store.redis.hmget(store.keys.job(id), 'cred', 'req', 'plan', 'token')).toEqual([
    null,
    null,
    null,
    null,
  ])
  expect(await complete(claim, 'second')).toEqual({ kind: 'ended' })
  expect((await store.jobs.read('acme', id))?.result?.body.toString()).toContain('first')
})

test('an ended job has nothing in its record that only its way there needed', async () => {
  const namesOf = async (id: string) => (await store.redis.hkeys(store.keys.job(id))).toSorted()
  const facts = ['end', 'expires', 'log', 'meta', 'size', 'status', 'tenant', 'times']
  const plain = await submit({ idempotency: { fingerprint: 'f', bodyHash: 'h' }, replyTo: 'api-1' })
  await complete(await claimed(store.queued[0]))
  expect(await namesOf(plain)).toEqual([...facts, 'out'].toSorted())

  const hook = { url: 'https://example.com/hook' }
  const more = await submit({ customer: 'c1', webhook: hook, asked: { tags: ['a'] }, keepsRequest: true })
  const claim = await claimed(store.queued[1])
  await store.settle.settle(claim.subject, 'claim', claim.token, 'failed', endError('expired'), '')
  // What a retry starts from, whom to tell, and whose account it counts in.
  const kept = ['asked', 'error', 'hook', 'kept', 'owner', 'req']
  expect(await namesOf(more)).toEqual([...facts, ...kept].toSorted())
})

test('all that is told of a job before its end is told after it: times, attempts, what it cost', async () => {
  const id = await submit({ delayMs: 1 })
  await eventually('it is due', async () => (await store.window.wake()).woken > 0)
  const [fed] = await store.window.feed()
  const claim = await claimed(fed)
  await store.claims.start(claim, ['log', formatLog([attempt(1, 'in_flight')], 'main'), 'attempts', 1])
  await store.jobs.cancel('acme', id)
  const before = (await store.jobs.read('acme', id))?.job
  expect(before).toMatchObject({ status: 'cancelling', attempts_made: 1, completed_at: null })
  expect(before?.not_before).not.toBeNull()
  expect(before?.cancelling_at).not.toBeNull()
  await store.settle.settle(claim.subject, 'claim', claim.token, 'cancelled', null, '')
  const after = (await store.jobs.read('acme', id))?.job
  for (const name of ['created_at', 'not_before', 'in_progress_at', 'cancelling_at', 'expires_at'] as const)
    expect(after?.[name]).toBe(before?.[name])
  expect(after).toMatchObject({ status: 'cancelled', attempts_made: 1 })
  expect(after?.cancelled_at).toBeGreaterThanOrEqual(before?.cancelling_at ?? Infinity)
  expect(after?.result_expires_at).toBeGreaterThan(after?.cancelled_at ?? Infinity)
})

test('of two ends at once exactly one counts', async () => {
  await submit()
  const claim = await claimed(store.queued[0])
  const fail = store.settle.settle(claim.subject, 'claim', claim.token, 'failed', null, '')
  const kinds = (await Promise.all([complete(claim), fail, complete(claim)])).map(({ kind }) => kind)
  expect(kinds.filter((kind) => kind === 'settled')).toHaveLength(1)
})

test('a job whose claim is alive is not given to a second worker; when its lease ran out it is, as a crash', async () => {
  await submit()
  const [job] = store.queued
  const first = await claimed(job)
  expect(job && (await store.claims.claim(job))).toEqual({ kind: 'held' })
  const second = await eventually('the lease ran out', async () => {
    const result = job && (await store.claims.claim(job))
    return result?.kind === 'claimed' ? result.claim : null
  })
  expect(second.crashes).toBe(1)
  expect(await store.claims.start(first, ['attempts', 1])).toBe('fenced')
  expect(await store.settle.settle(first.subject, 'claim', first.token, 'failed', null, '')).toEqual({
    kind: 'fenced',
  })
  // A paid result is never thrown away, whoever brings it.
  expect((await complete(first)).kind).toBe('settled')
})

test('two workers that claim one entry at the same time: one gets it', async () => {
  await submit()
  const [job] = store.queued
  if (!job) throw new Error('nothing was queued')
  const results = await Promise.all([1, 2, 3].map(() => store.claims.claim(job)))
  const kinds = results.map(({ kind }) => kind)
  expect(kinds.filter((kind) => kind === 'claimed')).toHaveLength(1)
  expect(kinds.filter((kind) => kind === 'held')).toHaveLength(2)
})

test('a renewed lease outlives its first length; another claim makes the renewal say that the job is lost', async () => {
  await submit()
  const claim = await claimed(store.queued[0])
  expect(await store.claims.renew([claim])).toEqual(new Map())
  expect(await store.claims.renew([{ id: claim.id, token: 'another' }])).toEqual(
    new Map([[claim.id, 'lost']]),
  )
})

test('an entry of an older generation is stale', async () => {
  const id = await submit()
  const later = createWindow(store.redis, store.keys, () => Date.now() + 5_000)
  expect(await store.window.overdue()).toEqual([])
  expect(await later.overdue()).toEqual([{ id, generation: 1, entry: `${id}-0` }])
  const again = await later.refeed({ id, generation: 1 })
  expect(again).toEqual({ id, generation: 2 })
  expect(await later.refeed({ id, generation: 1 })).toBeNull()
  expect(await store.claims.claim({ id, generation: 1 })).toEqual({ kind: 'stale' })
  expect((await store.claims.claim({ id, generation: 2 })).kind).toBe('claimed')
})

test('one hundred submits with one idempotency key make one job; another body is a mismatch', async () => {
  const idempotency = { fingerprint: 'f1', bodyHash: 'h1' }
  const results = await Promise.all(
    Array.from({ length: 100 }, () => store.jobs.create(store.jobInput({ idempotency }))),
  )
  expect(results.filter(({ kind }) => kind === 'created')).toHaveLength(1)
  expect(new Set(results.map((result) => 'id' in result && result.id)).size).toBe(1)
  const other = { fingerprint: 'f1', bodyHash: 'h2' }
  expect(await store.jobs.create(store.jobInput({ idempotency: other }))).toEqual({ kind: 'mismatch' })
  expect(store.queued).toHaveLength(1)
})

test('a waiting job is cancelled at once, a running one through its worker', async () => {
  const waiting = await submit()
  expect((await store.jobs.cancel('acme', waiting))?.job.status).toBe('cancelled')
  expect((await store.jobs.cancel('acme', waiting))?.job.status).toBe('cancelled')
  const running = await submit()
  const claim = await claimed(store.queued.find(({ id }) => id === running))
  expect((await store.jobs.cancel('acme', running))?.job.status).toBe('cancelling')
  expect(await store.claims.renew([claim])).toEqual(new Map([[running, 'cancelling']]))
  expect(await store.claims.start(claim, ['attempts', 1])).toBe('cancelling')
  expect(await store.jobs.cancel('other', running)).toBeNull()
})

test('a cancelled waiting job leaves no trace in the waiting sets or the window', async () => {
  const id = await submit({ delayMs: 60_000 })
  await store.jobs.cancel('acme', id)
  expect(
    await Promise.all([store.redis.zcard(store.keys.parked), store.redis.zcard(store.keys.window)]),
  ).toEqual([0, 0])
})

test('a snoozed job frees its place, wakes at its time and is fed again with what it knew', async () => {
  const id = await submit()
  const claim = await claimed(store.queued[0])
  const result = await store.claims.snooze(claim, 40, 'rate_limited', ['attempts', 1])
  expect(result.kind).toBe('snoozed')
  const view = await store.jobs.read('acme', id)
  expect(view?.job.queue).toMatchObject({ state: 'rate_limited', next_attempt_at: expect.any(Number) })
  expect(await store.redis.zcard(store.keys.window)).toBe(0)
  expect((await store.claims.snooze(claim, 40, 'rate_limited', [])).kind).toBe('fenced')
  await eventually('it woke', async () => (await store.window.wake()).woken === 1)
  const [fed] = await store.window.feed()
  expect(fed).toEqual({ id, generation: 3, entry: '' })
  expect((await claimed(fed)).attemptsMade).toBe(1)
})

test('the entry that a snoozed job came with is stale', async () => {
  const id = await submit()
  const claim = await claimed(store.queued[0])
  await store.claims.snooze(claim, 60_000, 'rate_limited', [])
  expect(await store.claims.claim({ id, generation: 1 })).toEqual({ kind: 'stale' })
})

test('a running job that lost worker and entry is claimed, or expired, as soon as it is fed again', async () => {
  const id = await submit()
  await claimed(store.queued[0])
  const later = createWindow(store.redis, store.keys, () => Date.now() + 2_200)
  const again = await later.refeed({ id, generation: 1 })
  if (!again) throw new Error('it was not fed again')
  const claim = await eventually('the lease is over', async () => {
    const result = await store.claims.claim(again)
    return result.kind === 'claimed' ? result.claim : null
  })
  expect(claim.crashes).toBe(1)
})

test('a call that was in flight when its job ended by other hands shows as lost and possibly billed', async () => {
  const id = await submit()
  const claim = await claimed(store.queued[0])
  await store.claims.start(claim, ['log', formatLog([attempt(1, 'in_flight')], 'main'), 'attempts', 1])
  await eventually(
    'the lease is over',
    async () => (await store.settle.free(id, 'expired')).result.kind === 'settled',
  )
  const job = (await store.jobs.read('acme', id))?.job
  expect(job?.attempts).toMatchObject([{ number: 1, outcome: 'lost', possibly_billed: true }])
  expect(job?.attempts_made).toBe(1)
})

test('a delayed job waits for its time, and its deadline counts from there', async () => {
  const id = await submit({ delayMs: 50, expiresInMs: 60_000 })
  expect(store.queued).toHaveLength(0)
  const job = (await store.jobs.read('acme', id))?.job
  expect(job?.queue.state).toBe('delayed')
  await eventually('it woke', async () => (await store.window.wake()).woken === 1)
  expect(await store.window.feed()).toEqual([{ id, generation: 1, entry: '' }])
})

test('a job past its deadline is not run', async () => {
  const id = await submit({ expiresInMs: 1 })
  const [job] = store.queued
  await eventually('its time is over', async () => {
    const view = await store.jobs.read('acme', id)
    return job && view && (await store.claims.claim(job)).kind === 'expired'
  })
  expect((await store.settle.free(id, 'expired')).result.kind).toBe('settled')
  expect((await store.jobs.read('acme', id))?.job).toMatchObject({
    status: 'expired',
    error: { code: 'job_expired' },
  })
})

test('a list pages through a tenant jobs in both directions and filters', async () => {
  const ids: string[] = []
  for (let count = 0; count < 7; count++) ids.push(await submit({ customer: count % 2 ? 'odd' : 'even' }))
  await submit({ tenant: 'other' })
  const newestFirst = ids.toReversed()
  const first = await store.jobs.list('acme', { limit: 3, order: 'desc' })
  expect(first?.jobs.map(({ id }) => id)).toEqual(newestFirst.slice(0, 3))
  expect(first?.hasMore).toBe(true)
  const after = await store.jobs.list('acme', { limit: 10, order: 'desc', after: newestFirst[2] ?? '' })
  expect(after?.jobs.map(({ id }) => id)).toEqual(newestFirst.slice(3))
  expect(after?.hasMore).toBe(false)
  const before = await store.jobs.list('acme', { limit: 2, order: 'desc', before: newestFirst[4] ?? '' })
  expect(before?.jobs.map(({ id }) => id)).toEqual(newestFirst.slice(2, 4))
  const odd = await store.jobs.list('acme', { limit: 10, order: 'asc', customer: 'odd' })
  expect(odd?.jobs.map(({ id }) => id)).toEqual([ids[1], ids[3], ids[5]])
  expect(await store.jobs.list('acme', { limit: 10, order: 'asc', after: 'job_unknown' })).toBeNull()
})

test('a job whose retention is over is forgotten with its place in the list; one still kept is not', async () => {
  await store.window.beat('w1', 10, 10_000)
  const [past, kept] = [await submit({ resultTtlMs: 60_000 }), await submit({ resultTtlMs: 3_600_000 })]
  for (const job of store.queued) await complete(await claimed(job))
  expect(await store.window.due()).toEqual([])
  const later = createWindow(store.redis, store.keys, () => Date.now() + 61_000)
  expect(await later.due()).toEqual([{ id: past, tenant: 'acme', isTerminal: true }])
  expect([await later.forget(past, 'acme'), await later.forget(kept, 'acme')]).toEqual([true, false])
  expect(await store.jobs.read('acme', past)).toBeNull()
  expect(store.ids.isOwnJobId('acme', past)).toBe(true)
  const listed = await store.jobs.list('acme', { limit: 10, order: 'desc' })
  expect(listed?.jobs.map(({ id }) => id)).toEqual([kept])
  expect(await store.redis.zcard(store.keys.index('acme'))).toBe(1)
})

function attempt(number: number, outcome: Attempt['outcome']): Attempt {
  return { ...openAttempt(number, testDeployment('one'), testPlan([]), 1), outcome }
}

test('a result brought by an overtaken claim keeps the attempts of the newer one', async () => {
  const id = await submit()
  const [job] = store.queued
  const first = await claimed(job)
  await store.claims.start(first, ['log', formatLog([attempt(1, 'in_flight')], 'main'), 'attempts', 1])
  const second = await eventually('the lease ran out', async () => {
    const result = job && (await store.claims.claim(job))
    return result?.kind === 'claimed' ? result.claim : null
  })
  const known = formatLog([attempt(1, 'lost'), attempt(2, 'in_flight')], 'main')
  await store.claims.start(second, ['log', known, 'attempts', 2])
  const late = formatLog([attempt(1, 'completed')], 'main')
  await store.settle.settle(first.subject, 'complete', first.token, 'completed', null, late)
  const attempts = (await store.jobs.read('acme', id))?.job.attempts
  expect(attempts?.map(({ number, outcome }) => `${number} ${outcome}`)).toEqual(['1 completed', '2 lost'])
})
