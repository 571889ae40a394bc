import type { LineOutcome, LineResult } from '../../shared/batches/batch-results.ts'
import { answeredLine, failedLine, UNANSWERED, unansweredLine } from '../../shared/batches/result-line.ts'
import type { Attempt } from '../../shared/schemas/job.ts'

const ATTEMPT: Attempt = {
  number: 1,
  deployment: 'dep_1',
  model_group: 'main',
  provider: 'openai',
  started_at: 1_000,
  ended_at: 2_000,
  outcome: 'completed',
  status_code: 200,
  error_class: null,
  retry_after: null,
  possibly_billed: false,
  input_tokens: 3,
  output_tokens: 2,
  cost: 0.000_001,
}

/** How a line of a batch ended, with an answer of about so many bytes. */
export function lineResult(
  line: number,
  {
    outcome = 'completed',
    bytes = 100,
    said = 'x',
  }: { outcome?: LineOutcome; bytes?: number; said?: string } = {},
): LineResult {
  const meta = {
    attempts: [{ ...ATTEMPT, outcome: outcome === 'completed' ? outcome : ('failed' as const) }],
    usage: { input_tokens: 3, output_tokens: 2, total_tokens: 5, cached_input_tokens: 1 },
    cost: 0.000_001,
    model: 'main',
    ended_at: 2_000,
  }
  return { line, outcome, meta, text: textOf(line, outcome, said.repeat(Math.ceil(bytes / said.length))) }
}

function textOf(line: number, outcome: LineOutcome, content: string): Buffer {
  const name = { id: `batch_req_test_${line}`, customId: `line-${line}` }
  if (outcome === 'completed') {
    return answeredLine(name, {
      status: 200,
      requestId: null,
      body: Buffer.from(JSON.stringify({ content })),
    })
  }
  if (outcome !== 'failed') return unansweredLine(name, UNANSWERED[outcome])
  const error = { message: content, type: 'server_error', param: null, code: 'upstream_error' }
  return failedLine(name, { status: 500, requestId: null, error })
}
