import type { BatchInput, BatchInputFile, LineKeys } from '../shared/batch-input.ts'
import type { LineContext } from '../shared/batch-lines.ts'
import type { BatchError } from '../shared/batch-record.ts'
import type { PlanDependencies } from '../shared/plan.ts'

export type BatchToValidate = {
  file: BatchInputFile
  context: LineContext
  defaults: Record<string, unknown>
  keys: LineKeys | null
  limits: { linesMax: number; lineBytesMax: number }
  /** Ends it early, with the signal's reason thrown. */
  signal?: AbortSignal
}

export type Validation =
  /** `model` when all lines have the same. */
  | { kind: 'valid'; lines: number; model: string | null }
  | { kind: 'invalid'; errors: BatchError[] }

/** Step v: looks at every line of an input before any of them runs. At most 100 errors are told. */
export async function validateBatch(
  batch: BatchToValidate,
  deps: PlanDependencies & { input: BatchInput },
): Promise<Validation> {
  void [batch, deps]
  throw new Error('in the works')
}
