import type { LoadOrder, LoadResult } from '../processes/load-generator.ts'
import { ask, type Child } from './children.ts'
import { measureCpu } from './cpu.ts'
import type { Options } from './options.ts'
import type { BenchRequest } from './requests.ts'

/** One of those that are compared. */
export type Contender = {
  name: string
  request: BenchRequest
  /** Processes whose time is counted, by name. */
  pids: Record<string, number>
  /** Brings it back to where it began; called before each run of load, outside of the measured time. */
  reset?: () => Promise<void>
  /** Reads a running counter (calls that arrived upstream, Redis's own statistics) before and after a run. */
  counters?: () => Promise<Record<string, number>>
}

/** One round of one contender. CPU in microseconds a request. */
export type Round = Omit<LoadResult, 'figures'> & {
  figures: Record<string, number>
  perSecond: number
  cpuUs: Record<string, number> | null
  /** Share of the machine that everything else used meanwhile, 0 to 1. */
  othersShare: number | null
  /** Differences of the counters, per request. */
  counters: Record<string, number>
}

/** The medians of a contender's rounds at one number of connections; errors are summed. */
export type Summary = Omit<Round, 'requests' | 'seconds'> & {
  name: string
  connections: number
  rounds: Round[]
}

/**
 * Measures the contenders in turn, round after round, so that a machine that gets slower or faster does so for all.
 * @param cores Processors of the machine, for the share that others used.
 */
export async function measureRounds(
  contenders: readonly Contender[],
  load: Child,
  options: Pick<Options, 'connections' | 'rounds' | 'seconds' | 'warmupSeconds'>,
  cores: number,
): Promise<Summary[]> {
  const summaries: Summary[] = []
  for (const connections of options.connections) {
    const rounds = new Map<string, Round[]>(contenders.map(({ name }) => [name, []]))
    if (options.warmupSeconds > 0) {
      for (const contender of contenders) {
        await measureOnce(contender, load, { connections, seconds: options.warmupSeconds }, cores)
      }
    }
    for (let round = 0; round < options.rounds; round += 1) {
      for (const contender of contenders) {
        const result = await measureOnce(contender, load, { connections, seconds: options.seconds }, cores)
        rounds.get(contender.name)?.push(result)
      }
    }
    for (const [name, all] of rounds) summaries.push(summarize(name, connections, all))
  }
  return summaries
}

async function measureOnce(
  contender: Contender,
  load: Child,
  size: { connections: number; seconds: number },
  cores: number,
): Promise<Round> {
  await contender.reset?.()
  const before = (await contender.counters?.()) ?? {}
  const order: LoadOrder = { request: contender.request, ...size }
  const stopCpu = measureCpu({ ...contender.pids, 'load generator': load.pid })
  const result = await ask<LoadResult>(load, order, size.seconds * 1000 + 90_000)
  const cpu = stopCpu()
  const after = (await contender.counters?.()) ?? {}
  const each = (total: number) => total / Math.max(1, result.requests)
  return {
    ...result,
    figures: result.figures ?? {},
    perSecond: result.requests / result.seconds,
    cpuUs: cpu && mapValues(cpu.byProcess, each),
    othersShare: cpu && cpu.others / (result.seconds * 1e6 * cores),
    counters: Object.fromEntries(
      Object.entries(after).map(([name, value]) => [name, each(value - (before[name] ?? 0))]),
    ),
  }
}

function summarize(name: string, connections: number, rounds: Round[]): Summary {
  const of = (pick: (round: Round) => number) => median(rounds.map(pick))
  const [first] = rounds
  const cpuUs = first?.cpuUs ?? null
  return {
    name,
    connections,
    perSecond: of((round) => round.perSecond),
    p50Ms: of((round) => round.p50Ms),
    p99Ms: of((round) => round.p99Ms),
    figures: mapKeys(first?.figures ?? {}, (figure) => of((round) => round.figures[figure] ?? 0)),
    errors: rounds.reduce((sum, round) => sum + round.errors, 0),
    firstError: rounds.find((round) => round.firstError !== null)?.firstError ?? null,
    cpuUs: cpuUs && mapKeys(cpuUs, (process) => of((round) => round.cpuUs?.[process] ?? 0)),
    othersShare: first?.othersShare === null ? null : of((round) => round.othersShare ?? 0),
    counters: mapKeys(first?.counters ?? {}, (counter) => of((round) => round.counters[counter] ?? 0)),
    rounds,
  }
}

/** The middle value; of an even number the mean of the two in the middle. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = Math.floor(sorted.length / 2)
  const upper = sorted[middle] ?? 0
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? 0) + upper) / 2
}

function mapValues(record: Record<string, number>, map: (value: number) => number): Record<string, number> {
  return Object.fromEntries(Object.entries(record).map(([key, value]) => [key, map(value)]))
}

function mapKeys(record: Record<string, number>, map: (key: string) => number): Record<string, number> {
  return Object.fromEntries(Object.keys(record).map((key) => [key, map(key)]))
}
