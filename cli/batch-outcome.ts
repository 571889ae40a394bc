import type { Batch } from '../shared/schemas/batch.ts'
import { formatCost, formatCount, formatDuration, formatTokens, linesDone } from './progress.ts'
import { printable } from './terminal.ts'

/** 0: every line completed. 1: some did not, or the batch failed. 3: it was cancelled or came to its deadline. */
export function exitCodeOf({ status, request_counts: counts }: Batch): number {
  if (status === 'cancelled' || status === 'expired') return 3
  return status === 'completed' && counts.completed === counts.total ? 0 : 1
}

/** How a batch has ended, in lines for a person. */
export function describeEnd(batch: Batch): string[] {
  const { id, status, request_counts: counts, output_file_id: output, error_file_id: errors } = batch
  const endedAt = batch.completed_at ?? batch.failed_at ?? batch.expired_at ?? batch.cancelled_at
  const time = endedAt === null ? '' : ` after ${formatDuration(endedAt - batch.created_at)}`
  const parts = [
    `${formatCount(counts.completed)} of ${formatCount(counts.total)} lines completed`,
    ...notCompleted(batch),
    ...(batch.usage.total_tokens > 0 ? [formatTokens(batch.usage.total_tokens)] : []),
    ...(batch.cost === null ? [] : [formatCost(batch.cost)]),
  ]
  const canRetry = counts.total > counts.completed && counts.total > 0
  return [
    `${id} ${status}${time}: ${parts.join(', ')}.`,
    ...describeErrors(batch),
    ...(output === null ? [] : [`Output: ${output}`]),
    ...(errors === null ? [] : [`Errors: ${errors}`]),
    ...(canRetry
      ? [`The lines that did not complete can be run again: byok-gateway batches retry ${id}`]
      : []),
  ]
}

function notCompleted({ progress }: Batch): string[] {
  const names = ['failed', 'expired', 'cancelled'] as const
  return names.filter((name) => progress[name] > 0).map((name) => `${formatCount(progress[name])} ${name}`)
}

/** What was wrong with the batch as a whole: mostly lines of its input. */
export function describeErrors({ errors }: Batch): string[] {
  return (errors?.data ?? []).map(({ line, message, param, code }) => {
    const place = line === null ? '' : `line ${line}: `
    return `  ${place}${printable(message)} (${param === null ? '' : `param ${printable(param)}, `}code ${code})`
  })
}

/** How many lines a part of the results has once the batch has ended. */
export function linesOf({ request_counts: { total, completed } }: Batch, part: 'output' | 'error'): number {
  return part === 'output' ? completed : total - completed
}

/** Done of all, for a table. */
export function describeCounts(batch: Batch): string {
  return `${linesDone(batch)}/${batch.request_counts.total}`
}
