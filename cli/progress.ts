import type { Batch } from '../shared/schemas/batch.ts'
import { TERMINAL_STATUSES } from '../shared/schemas/job.ts'

const WINDOW_MS = 30_000

/** One moment of something that is under way, for a bar or a line. */
export type View = {
  /** What it is at: a change of it is always shown. */
  phase: string
  /** There comes no other, and its end is told in other words. */
  isLast: boolean
  value: number
  /** 0 while it is not known. */
  total: number
  text: string
}

/** How fast lines are done, over the last 30 s. */
export function createPace() {
  const samples: { atMs: number; done: number }[] = []
  return {
    add(atMs: number, done: number): void {
      samples.push({ atMs, done })
      while ((samples[1]?.atMs ?? Infinity) <= atMs - WINDOW_MS) samples.shift()
    },
    /** Lines a second; null until there is something to go by. */
    rate(): number | null {
      const [first, last] = [samples[0], samples.at(-1)]
      if (!first || !last || last.atMs <= first.atMs) return null
      return (last.done - first.done) / ((last.atMs - first.atMs) / 1000)
    },
  }
}

export type Pace = ReturnType<typeof createPace>

/** Whether a batch changes no more. */
export function hasEnded({ status }: Batch): boolean {
  return TERMINAL_STATUSES.has(status)
}

/** Lines that have come to their end, whichever. */
export function linesDone({ progress }: Batch): number {
  return progress.completed + progress.failed + progress.expired + progress.cancelled
}

/** Where a batch stands: `3,100/5,000 done, 12 failed, 41.2/s, ETA 46s, 1.2M tokens, $0.42`. */
export function viewOf(batch: Batch, pace: Pace): View {
  const { status, request_counts: counts, progress, usage, cost } = batch
  const done = linesDone(batch)
  const rate = pace.rate()
  const parts = [
    ...(status === 'in_progress' ? [] : [status]),
    ...(counts.total === 0 ? [] : [`${formatCount(done)}/${formatCount(counts.total)} done`]),
    ...(counts.total === 0 ? [] : [`${formatCount(progress.failed)} failed`]),
    ...(progress.parked > 0 ? [`${formatCount(progress.parked)} waiting for a limit`] : []),
    ...(rate === null ? [] : [`${rate.toFixed(1)}/s`]),
    ...(rate && done < counts.total ? [`ETA ${formatDuration((counts.total - done) / rate)}`] : []),
    ...(usage.total_tokens > 0 ? [formatTokens(usage.total_tokens)] : []),
    ...(cost === null ? [] : [formatCost(cost)]),
  ]
  return { phase: status, isLast: hasEnded(batch), value: done, total: counts.total, text: parts.join(', ') }
}

/** How far an upload is. `total`: null where it is not known, as from a pipe. */
export function viewOfUpload(sentBytes: number, totalBytes: number | null): View {
  const of = totalBytes === null ? '' : ` of ${formatBytes(totalBytes)}`
  const text = `uploaded ${formatBytes(sentBytes)}${of}`
  return { phase: 'upload', isLast: sentBytes === totalBytes, value: sentBytes, total: totalBytes ?? 0, text }
}

/** `200MB` */
function formatBytes(bytes: number): string {
  const unit = { style: 'unit', unit: 'byte', unitDisplay: 'narrow' } as const
  return bytes.toLocaleString('en-US', { ...unit, notation: 'compact', maximumFractionDigits: 1 })
}

/** `5,000` */
export function formatCount(count: number): string {
  return count.toLocaleString('en-US')
}

/** `1.2M tokens` */
export function formatTokens(tokens: number): string {
  const short = tokens.toLocaleString('en-US', { notation: 'compact', maximumFractionDigits: 1 })
  return `${short} tokens`
}

/** USD: cents from a dollar on, else the first figures that are not 0. */
export function formatCost(cost: number): string {
  return cost >= 1 || cost === 0
    ? `$${cost.toFixed(2)}`
    : `$${cost.toLocaleString('en-US', { maximumSignificantDigits: 2 })}`
}

/** `46s`, `3m 20s`, `2h 5m`, `1d 3h`: two units at most. */
export function formatDuration(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds))
  const units = [
    ['d', Math.floor(whole / 86_400)],
    ['h', Math.floor(whole / 3_600) % 24],
    ['m', Math.floor(whole / 60) % 60],
    ['s', whole % 60],
  ] as const
  const first = units.findIndex(([, count]) => count > 0)
  if (first === -1) return '0s'
  const shown = units.slice(first, first + 2).filter(([, count]) => count > 0)
  return shown.map(([unit, count]) => `${count}${unit}`).join(' ')
}
