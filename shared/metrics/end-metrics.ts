import type { JobMeta } from '../jobs/job-record.ts'
import type { Settle, SettleResult, TerminalStatus } from '../jobs/settle.ts'
import { childrenOf, countOf, type Metrics } from './registry.ts'

/** Priorities and modes of jobs, as labels have them. */
export const CLASSES: ReadonlySet<string> = new Set<JobMeta['priority']>(['high', 'normal', 'low'])
export const MODES: ReadonlySet<string> = new Set<JobMeta['mode']>(['sync', 'async'])
const STATUSES: ReadonlySet<string> = new Set<TerminalStatus>(['completed', 'failed', 'cancelled', 'expired'])

/** Counts the ends of jobs that this process brings about: workers most of them, the API those of jobs cancelled in line. */
export function countEnds(metrics: Metrics): (settle: Settle) => Settle {
  const ended = metrics.counter('jobs_ended_total', 'Jobs that ended.', ['class', 'mode', 'status'])
  const endsOf = childrenOf(CLASSES, (priority) =>
    childrenOf(MODES, (mode) => childrenOf(STATUSES, (status) => countOf(ended, priority, mode, status))),
  )
  function note({ kind }: SettleResult, status: string, { priority, mode }: JobMeta): void {
    if (kind === 'settled') endsOf(priority)(mode)(status).inc()
  }
  return ({ settle, free }) => ({
    async settle(subject, by, token, status, ...rest) {
      const result = await settle(subject, by, token, status, ...rest)
      note(result, status, subject.meta)
      return result
    },
    async free(id, status) {
      const found = await free(id, status)
      if (found.subject) note(found.result, status, found.subject.meta)
      return found
    },
  })
}
