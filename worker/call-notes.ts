import { nameOf } from '../shared/gen-ai-attributes.ts'
import type { Logger } from '../shared/log.ts'
import type { Attempt } from '../shared/schemas/job.ts'
import type { PlanDeployment } from '../shared/schemas/plan.ts'
import type { WaitReason } from '../shared/tracing.ts'
import type { CallOutcome } from './providers/provider.ts'
import type { Run } from './run.ts'

/** Tells of each call that has ended: a line of the log, and a span where its job is traced. */
export function createCallNotes(log: Logger) {
  /** @param outcome Null: its worker was lost. */
  function note(run: Run, deployment: PlanDeployment, attempt: Attempt, outcome: CallOutcome | null): void {
    const { claim, record, trace, waited } = run
    const reply = outcome?.kind === 'reply' ? outcome.reply : null
    const firstMs = record.stream?.startedMs() ?? null
    const firstTokenMs = firstMs === null ? null : firstMs - attempt.started_at
    trace.called({
      endpoint: claim.meta.endpoint,
      deployment,
      attempt,
      body: reply?.body ?? null,
      cachedTokens: reply?.usage?.cached_input_tokens ?? null,
      firstTokenMs,
    })
    run.waited = null
    if (!log.isLevelEnabled('info')) return
    log.info(
      {
        job_id: claim.id,
        attempt: attempt.number,
        deployment_id: deployment.id,
        provider: attempt.provider,
        model: nameOf(deployment.model),
        outcome: attempt.outcome,
        status: attempt.status_code ?? undefined,
        error_class: attempt.error_class ?? undefined,
        ms: (attempt.ended_at ?? attempt.started_at) - attempt.started_at,
        first_token_ms: firstTokenMs ?? undefined,
        input_tokens: attempt.input_tokens ?? undefined,
        output_tokens: attempt.output_tokens ?? undefined,
        possibly_billed: attempt.possibly_billed,
        waited: waited?.why,
        waited_ms: waited?.ms,
        trace_id: trace.traceId ?? undefined,
      },
      'A provider was called',
    )
  }

  return {
    note,
    /** The same of calls that were in flight when an earlier worker died. */
    noteLost(run: Run): void {
      const { claim, waited } = run
      run.waited = null
      for (const [at, { outcome }] of claim.attempts.entries()) {
        const lost = outcome === 'in_flight' ? run.attempts[at] : undefined
        const deployment = claim.plan.deployments.find(({ name }) => name === lost?.deployment)
        if (lost && deployment) note(run, deployment, lost, null)
      }
      // Of the call that is to be made.
      run.waited = waited
    },
  }
}

/** A call is not made at once. What its attempt's line tells is the last reason, and how long it was to be. */
export function noteWait(run: Run, why: WaitReason, waitMs: number): void {
  run.waited = { why, ms: Math.round(waitMs) }
  run.trace.waits(why, waitMs)
}
