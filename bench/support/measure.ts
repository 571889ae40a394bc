import { availableParallelism } from 'node:os'
import type { Children } from './children.ts'
import type { CpuUse } from './cpu.ts'

/** Above this share of the machine, others' work makes a figure doubtful. */
export const OTHERS_SHARE_MAX = 0.05

/** What a figure is held against: at least, or at most, so much. */
export type Aim = { atLeast: number } | { atMost: number }

/** One line of the table that `npm run bench` prints. `aim` is null for what is only told. */
export type Figure = {
  text: string
  /** NaN where it could not be measured; the note says why. */
  reached: number
  unit: '' | 'x' | 'ms' | 'us' | 'B' | 'KB' | 'MB' | '%'
  aim: Aim | null
  note?: string
}

/** What a measure found: its lines of the table, and everything else for `--json`. */
export type Measured = { figures: Figure[]; details: object }

/** How much is measured. */
export type Size = {
  /** A run of some five minutes in all, whose figures are rough. */
  isQuick: boolean
  /** Folder for V8 profiles of our API and worker; '' = none. */
  profileFolder: string
}

/** One of the measures of `npm run bench`. It starts what it needs with `children`, which the caller ends. */
export type Measure = {
  /** As `--only` names it. */
  name: string
  title: string
  run: (children: Children, size: Size) => Promise<Measured>
}

/** Whether a figure reached its aim; null when it has none. */
export function isMet({ reached, aim }: Figure): boolean | null {
  if (!aim) return null
  return 'atLeast' in aim ? reached >= aim.atLeast : reached <= aim.atMost
}

/** What makes a figure doubtful: requests that failed, and how much of the machine others used. */
export function noteOf(summaries: readonly { othersShare: number | null; errors?: number }[]): {
  note?: string
} {
  const share = Math.max(0, ...summaries.map(({ othersShare }) => othersShare ?? 0))
  const errors = summaries.reduce((sum, one) => sum + (one.errors ?? 0), 0)
  const notes = [
    ...(errors > 0 ? [`${errors} requests failed`] : []),
    ...(share > OTHERS_SHARE_MAX ? [`others used ${(share * 100).toFixed(0)}% of the machine`] : []),
  ]
  return notes.length > 0 ? { note: notes.join(', ') } : {}
}

/** The same of processor time that was measured over so many milliseconds. */
export function noteOfUse(use: CpuUse, ms: number): { note?: string } {
  return noteOf([{ othersShare: use && use.others / (ms * 1000 * availableParallelism()) }])
}
