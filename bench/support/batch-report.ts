import type { BatchRound } from './batch-rounds.ts'
import type { WaitingMemory } from './batch-waiting.ts'
import { describeMemory, type ProcessMemory } from './process-memory.ts'
import { describeStatistics } from './redis-statistics.ts'
import { describeCpu, printTable } from './report.ts'
import { median } from './rounds.ts'

const VALIDATE_S_MAX = 3
const VALIDATED_LINES = 50_000
const REDIS_BYTES_MAX = 100
const OTHERS_SHARE_MAX = 0.05

/** The medians of one contender's rounds. */
export type BatchSummary = { name: string; perSecond: number; rounds: BatchRound[] } & Omit<
  BatchRound,
  'lines' | 'seconds'
>

/** Takes the medians of rounds. */
export function summarizeRounds(name: string, rounds: BatchRound[]): BatchSummary {
  const of = (pick: (round: BatchRound) => number) => median(rounds.map(pick))
  const map = (keys: object | null | undefined, pick: (round: BatchRound, key: string) => number) =>
    Object.fromEntries(Object.keys(keys ?? {}).map((key) => [key, of((round) => pick(round, key))]))
  const [first] = rounds
  return {
    name,
    perSecond: of(({ lines, seconds }) => lines / seconds),
    cpuUs: first?.cpuUs ? map(first.cpuUs, (round, key) => round.cpuUs?.[key] ?? 0) : null,
    othersShare: first?.othersShare === null ? null : of((round) => round.othersShare ?? 0),
    steps: first?.steps
      ? {
          uploadS: of(({ steps }) => steps?.uploadS ?? 0),
          validateS: of(({ steps }) => steps?.validateS ?? 0),
          runS: of(({ steps }) => steps?.runS ?? 0),
        }
      : null,
    counters: map(first?.counters, (round, key) => round.counters[key] ?? 0),
    rounds,
  }
}

/** Prints one table of what was measured side by side. */
export function printBatchSummaries(summaries: readonly BatchSummary[], title: string): void {
  console.log(`\n${title}`)
  const rows = summaries.map(({ name, perSecond, othersShare, cpuUs }) => [
    name,
    perSecond.toFixed(0),
    cpuUs ? Object.values(cpuUs).reduce((sum, us) => sum + us, 0).toFixed(0) : '-', // oxfmt-ignore
    othersShare === null ? '-' : `${(othersShare * 100).toFixed(0)}%`,
    describeCpu(cpuUs),
  ])
  printTable(['', 'lines/s', 'CPU us/line', 'others', 'of which'], rows)
  for (const { name, steps, counters } of summaries) {
    if (!steps) continue
    const { uploadS, validateS, runS } = steps
    console.log(`  ${name}: upload ${uploadS.toFixed(2)} s, validation ${validateS.toFixed(2)} s, run and finish ${runS.toFixed(2)} s`) // oxfmt-ignore
    console.log(`  ${name}, Redis commands a line: ${describeStatistics(counters)}`)
  }
  if (summaries.some(({ othersShare }) => (othersShare ?? 0) > OTHERS_SHARE_MAX))
    console.log('  Other programs used the machine meanwhile: take the CPU figures, not the ratios.')
}

/** Prints how the time of a batch grows with its lines. */
export function printGrowth(rounds: readonly BatchRound[], memory: Record<string, ProcessMemory>): void {
  console.log('\nGrowth: one batch of each size')
  const rows = rounds.map(({ lines, seconds, steps, cpuUs }) => [
    String(lines),
    ...[steps?.uploadS, steps?.validateS, steps?.runS, seconds].map((step) => (step ?? 0).toFixed(2)),
    ((seconds / lines) * 1e6).toFixed(0),
    describeCpu(cpuUs),
  ])
  printTable(['lines', 'upload s', 'validation s', 'run s', 'all s', 'us/line', 'CPU us/line'], rows)
  for (const { lines, steps } of rounds) {
    if (lines === VALIDATED_LINES && steps) printValidation(lines, steps.validateS)
  }
  console.log(`  MB in memory now (at most so far): ${describeMemory(memory)}`)
}

function printValidation(lines: number, validateS: number): void {
  const verdict = `the aim: below ${VALIDATE_S_MAX} s, ${validateS < VALIDATE_S_MAX ? 'met' : 'NOT met'}`
  console.log(`  ${lines} lines are validated in ${validateS.toFixed(2)} s (${verdict})`)
}

/** Prints what waiting lines take. */
export function printWaiting(found: readonly WaitingMemory[]): void {
  console.log('\nWaiting lines')
  for (const { lines, hasOwnKeys, redisBytes, validateS, processes } of found) {
    const what = hasOwnKeys ? 'each with a key of its own' : 'credentials of the batch'
    const verdict = `the aim: below ${REDIS_BYTES_MAX}, ${redisBytes < REDIS_BYTES_MAX ? 'met' : 'NOT met'}`
    console.log(`  ${lines} lines, ${what}: ${redisBytes.toFixed(2)} bytes of Redis a line (${verdict})`)
    console.log(`    validated in ${median(validateS).toFixed(2)} s a batch (median of ${validateS.length}); MB now (at most): ${describeMemory(processes)}`) // oxfmt-ignore
  }
}
