import type { Endpoint } from './endpoints.ts'
import type { PlanDependencies, ResolvedPlan } from './plan.ts'

/** One line as it was sent, its credentials back in their places. */
export type InputLine = {
  /** 0-based, blank lines not counted. */
  line: number
  customId: string
  method: string
  /** Null: the batch's endpoint. */
  url: string | null
  customer: string | null
  /** Fields of the gateway beside `body`: credentials, `num_retries`, ... */
  settings: Record<string, unknown>
  body: Record<string, unknown>
  /** `erased`: it had some, and their key is gone; `[erased]` stands in their places. */
  credentials: 'none' | 'own' | 'erased'
}

/** What lies around the lines of a batch. */
export type LineContext = {
  tenant: string
  /** The batch's. */
  customer: string | null
  /** The batch's: a path, or `*` where each line has its own. */
  endpoint: string
}

/** Plans of lines that differ in nothing a plan goes by; one for a batch with its defaults. */
export type LinePlans = Map<string, unknown>

export type LinePlan = ResolvedPlan & { customer: string | null; endpoint: Endpoint }

/**
 * The plan of one line: the batch's fields lie under its own, and a line with credentials of its own has nothing of the
 * batch's.
 * @param dependencies `plans`: with it, lines of one kind are resolved once.
 * @throws {InvalidRequestError} with the JSON path in the line.
 */
export function planOfLine(
  line: InputLine,
  defaults: Record<string, unknown>,
  context: LineContext,
  dependencies: PlanDependencies & { plans?: LinePlans },
): LinePlan {
  void [line, defaults, context, dependencies]
  throw new Error('in the works')
}
