// What one synchronous completion costs Redis: each script by its name, each other command, and the rest (reading, writing,
// the append-only file), in a form that can be held against that of another version.
import type { LoadOrder, LoadResult } from '../processes/load-generator.ts'
import { ask, type Children } from '../support/children.ts'
import { startOurs } from '../support/contenders.ts'
import { measureCpu } from '../support/cpu.ts'
import { project, startRedis } from '../support/gateway.ts'
import type { Measure, Measured, Size } from '../support/measure.ts'
import { printTable } from '../support/report.ts'
import { completionBody } from '../support/requests.ts'
import { median } from '../support/rounds.ts'
import { readScriptNames } from '../support/script-names.ts'
import { watchCommands, type LoggedCommand } from '../support/script-times.ts'

const PROMPT_BYTES = 1_000
const CONNECTIONS = 50
// No script is as fast as that, and nearly each command inside of one is.
const THRESHOLD_US = 8
// Of the longest runs so many are left out: the machine did something else meanwhile.
const LEFT_OUT = 0.01

/** What one script or command takes, a job. `commandsInside`: that it ran, a call. */
export type Cost = {
  name: string
  calls: number
  p50Us: number
  /** Its median run, times its calls: what a busy machine changes least. */
  jobUs: number
  /** Its mean run, times its calls. */
  jobMeanUs: number
  commandsInside: number
}

/** Redis by script. */
export const redisProfile: Measure = { name: 'redis', title: 'Redis, by script of a sync job', run }

async function run(children: Children, size: Size): Promise<Measured> {
  const upstream = await children.startHelper('upstream', project('bench/processes/upstream.ts'))
  const load = await children.startHelper('load', project('bench/processes/load-generator.ts'))
  const redis = await startRedis(children)
  const sent = {
    body: completionBody(PROMPT_BYTES),
    promptBytes: PROMPT_BYTES,
    profileFolder: size.profileFolder,
  }
  const ours = await startOurs(children, upstream, sent, { redis })
  const names = readScriptNames()
  const request = async (seconds: number) => {
    const order: LoadOrder = { request: ours.request, connections: CONNECTIONS, seconds }
    const result = await ask<LoadResult>(load, order, seconds * 1000 + 90_000)
    if (result.errors > 0) throw new Error(`${result.errors} requests failed: ${result.firstError}`)
    return result.requests
  }
  const watch = async (thresholdUs: number, seconds: number) => {
    const { result, logged } = await watchCommands(redis.client, names, thresholdUs, () => request(seconds))
    return { jobs: result, logged }
  }

  await request(size.isQuick ? 2 : 5)
  // Watched first without what is inside of scripts, which costs them; then with it, for what is counted only.
  const timed = await watch(THRESHOLD_US, size.isQuick ? 3 : 10)
  const counted = await watch(0, 2)
  const stopCpu = measureCpu({ redis: redis.pid })
  const jobs = await request(size.isQuick ? 2 : 5)
  const redisUs = (stopCpu()?.byProcess['redis'] ?? Number.NaN) / jobs

  const costs = costsOf(timed, counted)
  print(costs, redisUs)
  return {
    figures: [{ text: 'CPU of Redis for a sync job, not pinned', reached: redisUs, unit: 'us', aim: null }],
    details: { connections: CONNECTIONS, redisUs, costs },
  }
}

type Watched = { jobs: number; logged: LoggedCommand[] }

function costsOf(timed: Watched, counted: Watched): Cost[] {
  const names = new Set(counted.logged.map(({ name }) => name))
  const costs = [...names].map((name) => {
    const isOfName = (one: LoggedCommand) => one.name === name
    const all = counted.logged.filter(isOfName)
    const long = timed.logged.filter(isOfName)
    // What is mostly shorter than the threshold is a plain command: it is timed as well when all is logged.
    const isScript = long.length / timed.jobs > (0.8 * all.length) / counted.jobs
    const { logged, jobs } = isScript
      ? { logged: long, jobs: timed.jobs }
      : { logged: all, jobs: counted.jobs }
    const sorted = logged.map(({ us }) => us).toSorted((a, b) => a - b)
    const kept = sorted.slice(0, Math.max(1, Math.ceil(sorted.length * (1 - LEFT_OUT))))
    const meanUs = kept.reduce((sum, us) => sum + us, 0) / kept.length
    const calls = logged.length / jobs
    const inside = all.reduce((sum, { commandsInside }) => sum + commandsInside, 0) / all.length
    const p50Us = median(sorted)
    return {
      name,
      calls,
      p50Us,
      jobUs: calls * p50Us,
      jobMeanUs: calls * meanUs,
      commandsInside: inside,
    }
  })
  return costs.toSorted((a, b) => b.jobUs - a.jobUs)
}

function print(costs: readonly Cost[], redisUs: number): void {
  const shown = costs.filter(({ calls, jobUs }) => calls >= 0.05 || jobUs >= 1)
  const rows = shown.map(({ name, calls, p50Us, jobUs, jobMeanUs, commandsInside }) => [
    name,
    calls.toFixed(2),
    p50Us.toFixed(0),
    commandsInside.toFixed(1),
    jobMeanUs.toFixed(1),
    jobUs.toFixed(1),
  ])
  printTable(['', 'calls/job', 'p50 us', 'commands inside', 'mean us/job', 'us/job'], rows)
  const [sum, mean] = [sumOf(costs, 'jobUs'), sumOf(costs, 'jobMeanUs')].map((us) => us.toFixed(0))
  console.log(
    `  In all ${sum} us a job by medians, ${mean} by means, of ${redisUs.toFixed(0)} of processor time:`,
  )
  console.log('  the rest is reading, writing, and the append-only file.')
}

function sumOf(costs: readonly Cost[], field: 'jobUs' | 'jobMeanUs'): number {
  return costs.reduce((sum, cost) => sum + cost[field], 0)
}
