import { setTimeout as pause } from 'node:timers/promises'
import { z } from 'zod'
import { JobList } from '../../api/job-list.ts'
import { TERMINAL_STATUSES, type Attempt, type Job } from '../../shared/schemas/job.ts'
import { lineMark } from './batch-load.ts'
import { insist } from './calls.ts'
import type { Fleet } from './fleet.ts'
import type { Inbox, Told } from './inbox.ts'
import type { Sent } from './load.ts'
import type { Order } from './order.ts'
import { readUsed, usedBetween, type Used } from './usage.ts'
import type { Call, Upstream } from './upstream.ts'

/** What a scenario came to. Jobs are single ones and lines of batches alike. */
export type Tally = {
  sent: number
  accepted: number
  ended: number
  /** Accepted and not there any more. */
  lost: number
  /** Calls that may be on a bill beside the one that gave the answer: each of them must be marked. */
  repeated: number
  marked: number
  /** Jobs with calls that no attempt tells of, since Redis lost it. */
  unmarked: number
  calls: number
  attempts: number
  webhooks: number
  /** Deliveries of a `webhook-id` that had come before. */
  redelivered: number
  /** Promises that were not kept, in words. */
  broken: string[]
}

/**
 * What Redis may have lost, by when it was begun and when it was known to be done (`performance.now()`), and whose it is; null:
 * nobody's who was promised more than others.
 */
export type MayBeLost = (begunAt: number, doneAt: number, tenant: string | null) => boolean

const WEBHOOKS_MS = 120_000
/** Until the sweeper has summed up. */
const USAGE_MS = 10_000

export type AuditOptions = {
  fleet: Fleet
  upstream: Upstream
  inbox: Inbox
  sent: readonly Sent[]
  /** How long what was accepted may take to end once nothing is broken any more. */
  settleMs: number
  mayBeLost?: MayBeLost
  /** What was used before any of it was sent. */
  usedBefore: Used
}

/** Waits until everything has ended, and holds what there is against what was promised. */
export async function audit(options: AuditOptions): Promise<Tally> {
  const { fleet, upstream, inbox, sent, mayBeLost = () => false } = options
  const tally: Tally = {
    sent: 0, accepted: 0, ended: 0, lost: 0, repeated: 0, marked: 0, unmarked: 0,
    calls: 0, attempts: 0, webhooks: 0, redelivered: 0, broken: [],
  } // oxfmt-ignore
  const broken = (text: string) => void tally.broken.push(text)
  const stuck = await waitForEnds(fleet, options.settleMs)
  for (const text of stuck) broken(text)

  const jobs = Map.groupBy(await allJobs(fleet), ({ metadata }) => metadata['mark'] ?? '')
  const hooks: { id: string; status: string }[] = []
  const used: Used = { requests: 0, completed: 0, tokens: 0 }
  for (const one of sent) {
    tally.sent += one.order.lines
    if (one.acceptedAt !== null) tally.accepted += one.order.lines
    if (one.ids.size > 1) broken(`${one.order.mark} was answered with ${one.ids.size} ids`)
    if (one.answer === 'wrong') broken(`${one.order.mark} had an answer that is not its own`)
    if (one.ghosts.length > 0 && !mayBeLost(one.sentAt, one.acceptedAt ?? one.sentAt, null))
      broken(`${one.order.mark}: an id of a 2xx could not be read right after`)
    if (one.order.kind === 'batch') checkBatch(one)
    else checkJobs(one, jobs.get(one.order.mark) ?? [])
  }
  await checkWebhooks()
  if (!options.mayBeLost) await checkUsage()
  return tally

  function checkJobs(one: Sent, found: readonly Job[]): void {
    const { mark, tenant, kind, hasWebhook } = one.order
    const known = new Set(found.map(({ id }) => id))
    for (const id of one.ids) if (!known.has(id)) lose(one, id)
    // Whoever gave a key, and an SDK that tried again, has one job; who asked once has one at most.
    if (found.length > 1) broken(`${mark} (${kind}) became ${found.length} jobs`)
    for (const job of found) {
      if (!TERMINAL_STATUSES.has(job.status)) continue
      noteEnd(job.status, job.usage)
      if (hasWebhook) hooks.push({ id: job.id, status: job.status })
      // An end that is lost comes again, and a stream that had begun can't go on.
      const isEndLost = one.answeredAt !== null && mayBeLost(one.answeredAt, one.answeredAt, null)
      if (one.answer === 'right' && job.status !== 'completed' && !isEndLost)
        broken(`${mark} was answered and ended ${job.status} (${job.error?.code})`)
      if (one.order.cancelAfterMs === null && job.status === 'cancelled')
        broken(`${mark} was cancelled by nobody`)
      checkCalls({ mark, tenant }, job.status, job.attempts, found.length === 1)
    }
    if (found.length === 0) tally.calls += (upstream.calls.get(mark) ?? []).length
  }

  function noteEnd(status: string, usage: Job['usage']): void {
    tally.ended += 1
    used.requests += 1
    if (status === 'completed') used.completed += 1
    used.tokens += (usage?.input_tokens ?? 0) + (usage?.output_tokens ?? 0)
  }

  /** Each end is counted once, also when whoever counted it died. */
  async function checkUsage(): Promise<void> {
    const giveUpAt = performance.now() + USAGE_MS
    for (;;) {
      const counted = usedBetween(options.usedBefore, await readUsed(fleet))
      const isRight = JSON.stringify(counted) === JSON.stringify(used)
      if (isRight) return
      if (performance.now() > giveUpAt)
        return broken(`used ${JSON.stringify(used)}, counted ${JSON.stringify(counted)}`)
      await pause(250)
    }
  }

  function lose(one: Sent, id: string): void {
    tally.lost += one.order.lines
    // A call that waits for its answer is told an error before its job is on a disk.
    const tenant = one.answer === 'error' ? null : one.order.tenant
    if (one.acceptedAt !== null && !mayBeLost(one.sentAt, one.acceptedAt, tenant))
      broken(`${one.order.mark} (${id}) is gone`)
  }

  function checkBatch({ order, batch: end, ids, sentAt, acceptedAt }: Sent): void {
    const { mark, tenant, lines, hasWebhook } = order
    const [id] = ids
    if (id === undefined || acceptedAt === null) return
    if (end === null) {
      tally.lost += lines
      if (!mayBeLost(sentAt, acceptedAt, tenant))
        broken(`batch ${mark} (${id}) did not end, or can't be read`)
      return
    }
    if (hasWebhook) hooks.push({ id, status: end.batch.status })
    const names = end.lines.map(({ custom_id: name }) => name)
    const all = Array.from({ length: lines }, (_, number) => lineMark(mark, number))
    if (new Set(names).size !== lines || names.length !== lines || !all.every((name) => names.includes(name)))
      broken(`batch ${mark} has ${names.length} lines, not its ${lines}`)
    if (new Set(end.results).size !== lines || end.results.length !== lines)
      broken(`batch ${mark} has ${end.results.length} results for ${lines} lines`)
    for (const line of end.lines) {
      noteEnd(line.status, line.usage)
      checkCalls({ mark: line.custom_id, tenant }, line.status, line.attempts, true)
    }
  }

  /** The attempts of a job and the calls that the provider saw of it. */
  function checkCalls(
    { mark, tenant }: Pick<Order, 'mark' | 'tenant'>,
    status: string,
    attempts: readonly Attempt[],
    isAlone: boolean,
  ): void {
    const calls = upstream.calls.get(mark) ?? []
    tally.calls += calls.length
    tally.attempts += attempts.length
    const { repeated, marked, faults } = compareCalls(status, attempts, calls)
    tally.repeated += repeated
    tally.marked += marked
    // Attempts that Redis lost leave calls without one: that is what durability is for.
    const isLost = calls.some(({ at }) => mayBeLost(at, at, tenant))
    if (isLost && faults.length > 0) tally.unmarked += 1
    else if (isAlone) for (const fault of faults) broken(`${mark} (${status}): ${fault}`)
  }

  async function checkWebhooks(): Promise<void> {
    const giveUpAt = performance.now() + WEBHOOKS_MS
    while (hooks.some(({ id }) => !inbox.isTold(id)) && performance.now() < giveUpAt) await pause(100)
    for (const { id, status } of hooks) {
      const told = inbox.told.get(id)
      if (!told || told.accepted === 0)
        broken(`nobody was told of the end of ${id} (${status}): ${told?.count ?? 0} tries`)
      else checkTold(id, status, told)
    }
    for (const { text, at } of inbox.early.splice(0)) if (!mayBeLost(at, at, null)) broken(text)
  }

  function checkTold(id: string, status: string, told: Told): void {
    tally.webhooks += told.ids.size
    tally.redelivered += told.count - told.ids.size
    if (told.ids.size > 1) broken(`${id} was told of under ${told.ids.size} webhook-ids`)
    const types = [...told.types]
    // What was told, and then lost, may end otherwise.
    if (mayBeLost(told.at, told.at, null)) return
    if (types.length !== 1 || !types[0]?.endsWith(`.${status}`))
      broken(`${id} is ${status}, told ${types.join()}`)
  }
}

/**
 * Holds the attempts of one job against the calls that its provider saw. A call that its worker noted, and died before it
 * made, leaves an attempt without a call; never the other way round.
 */
export function compareCalls(status: string, attempts: readonly Attempt[], calls: readonly Call[]) {
  const faults: string[] = []
  const answered = attempts.filter((one) => one.outcome === 'completed' || one.status_code !== null)
  if (calls.length > attempts.length) faults.push(`${calls.length} calls, ${attempts.length} attempts`)
  if (calls.length < answered.length)
    faults.push(`${calls.length} calls, ${answered.length} attempts were answered`)
  if (attempts.some(({ outcome }) => outcome === 'in_flight')) faults.push('an attempt is still under way')
  const paid = status === 'completed' ? 1 : 0
  const repeated = Math.max(0, calls.filter(({ mayBill }) => mayBill).length - paid)
  const marked = attempts.filter((one) => one.possibly_billed).length
  if (repeated > marked) faults.push(`${repeated} calls too many, ${marked} marked possibly_billed`)
  if (attempts.filter(({ outcome }) => outcome === 'completed').length > 1)
    faults.push('two attempts completed')
  if (attempts.some((one) => one.outcome === 'lost' && !one.possibly_billed))
    faults.push('a lost call is not marked')
  return { repeated, marked, faults }
}

/** All jobs of all tenants. */
export async function allJobs(fleet: Fleet): Promise<Job[]> {
  const jobs = await Promise.all(fleet.tenants.map((tenant) => jobsOf(fleet, fleet.keyOf(tenant))))
  return jobs.flat()
}

/** All jobs of a gateway key's tenant. */
export async function jobsOf(fleet: Fleet, key: string): Promise<Job[]> {
  const jobs: Job[] = []
  for (let after = ''; ;) {
    const path = `/v1/jobs?limit=100${after === '' ? '' : `&after=${after}`}`
    const page = JobList.parse((await insist(fleet, 'GET', path, { key })).json)
    jobs.push(...page.data)
    if (!page.has_more || page.last_id === null) return jobs
    after = page.last_id
  }
}

/** @returns who has not ended in time, in words */
async function waitForEnds(fleet: Fleet, settleMs: number): Promise<string[]> {
  const giveUpAt = performance.now() + settleMs
  for (;;) {
    const open = await openJobs(fleet)
    if (open.length === 0) return []
    if (performance.now() > giveUpAt)
      return open.map(
        (job) => `${job.id} (${job.metadata['mark']}) is stuck: ${job.status}, ${JSON.stringify(job.queue)}`,
      )
    await pause(200)
  }
}

const Page = z.looseObject({ data: JobList.shape.data })

async function openJobs(fleet: Fleet): Promise<Job[]> {
  const pages = await Promise.all(
    fleet.tenants.flatMap((tenant) =>
      ['queued', 'in_progress', 'cancelling'].map(async (status) => {
        const path = `/v1/jobs?limit=5&status=${status}`
        const answer = await insist(fleet, 'GET', path, { key: fleet.keyOf(tenant) })
        return Page.parse(answer.json).data
      }),
    ),
  )
  return pages.flat()
}
