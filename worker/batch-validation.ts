import type { BatchInput, BatchInputFile, LineKeys } from '../shared/batches/batch-input.ts'
import type { StoredLine } from '../shared/batches/batch-input-lines.ts'
import { namedByLine, planOfLine, readLine, type LineContext } from '../shared/batches/batch-lines.ts'
import type { BatchError } from '../shared/batches/batch-record.ts'
import { createBreather } from '../shared/batches/breather.ts'
import { cutEchoes } from '../shared/settings/echoes.ts'
import { GatewayError, InvalidRequestError } from '../shared/errors.ts'
import { FIELDS_MAX, readUnkept, type Unkept } from '../shared/batches/line-credentials.ts'
import type { LinePlans } from '../shared/batches/line-plans.ts'
import type { PlanDependencies } from '../shared/plans/plan.ts'
import type { StoredCredentials } from '../shared/credentials/stored-credentials.ts'
import { createChunkCredentials, type ChunkCredentials } from './chunk-credentials.ts'

const ERRORS_MAX = 100

export type BatchToValidate = {
  file: BatchInputFile
  context: LineContext
  /** Laid under each line. */
  defaults: Record<string, unknown>
  keys: LineKeys | null
  limits: { linesMax: number; lineBytesMax: number }
  /** Ends it early, with the signal's reason thrown. */
  signal?: AbortSignal
}

export type ValidationDeps = PlanDependencies & {
  input: BatchInput
  plans: LinePlans
  stored: Pick<StoredCredentials, 'open'>
}

export type Validation =
  /** `model` when all lines have the same. */
  { kind: 'valid'; lines: number; model: string | null } | { kind: 'invalid'; errors: BatchError[] }

/**
 * Looks at every line of an input before any of them runs: what it says, and its plan. At most 100 errors are told, one for
 * a line. Everything else in the process goes on meanwhile.
 */
export async function validateBatch(batch: BatchToValidate, deps: ValidationDeps): Promise<Validation> {
  const { file, keys, limits, signal } = batch
  const whole = faultOfWhole(file.lines, limits.linesMax)
  if (whole) return { kind: 'invalid', errors: [whole] }
  const errors: BatchError[] = []
  const { tenant } = batch.context
  const credentials = createChunkCredentials((id) => deps.stored.open(tenant, id))
  const seen: Seen = { customIds: new Map(), models: new Set(), credentials }
  const breather = createBreather()
  for await (const stored of deps.input.all(file, keys)) {
    signal?.throwIfAborted()
    const error = await faultOf(stored, batch, deps, seen)
    if (error) errors.push(error)
    if (errors.length >= ERRORS_MAX) break
    if (breather.isDue()) await breather.pause()
  }
  if (errors.length > 0) return { kind: 'invalid', errors }
  const [model = null, ...others] = seen.models
  return { kind: 'valid', lines: file.lines, model: others.length > 0 ? null : model }
}

/** What a line can't be judged without. */
type Seen = {
  /** With their rows. */
  customIds: Map<string, number>
  models: Set<string>
  credentials: ChunkCredentials
}

function faultOfWhole(lines: number, linesMax: number): BatchError | null {
  if (lines === 0) return { code: 'empty_file', message: 'The file has no lines.', param: null, line: null }
  return lines > linesMax ? tooMany(linesMax) : null
}

function tooMany(linesMax: number): BatchError {
  const message = `The file has more than the ${linesMax} lines a batch may have. Make several batches of it.`
  return { code: 'too_many_lines', message, param: null, line: null }
}

async function faultOf(
  stored: StoredLine,
  batch: BatchToValidate,
  deps: ValidationDeps,
  seen: Seen,
): Promise<BatchError | null> {
  try {
    await check(stored, batch, deps, seen)
    return null
  } catch (error) {
    if (!(error instanceof GatewayError) || error.status >= 500) throw error
    const { message, param } = cutEchoes(error.toBody().error)
    return { code: codeOf(error), message, param, line: stored.row }
  }
}

// Of a body that its schema refuses, whatever it is that is wrong.
function codeOf({ code }: GatewayError): string {
  if (code === 'invalid_json') return 'invalid_json_line'
  return code === 'invalid_parameter' || code === 'invalid_body' ? 'invalid_request' : code
}

async function check(
  stored: StoredLine,
  batch: BatchToValidate,
  deps: ValidationDeps,
  seen: Seen,
): Promise<void> {
  const unkept = readUnkept(stored.text)
  if (unkept) throw faultOfUnkept(unkept, batch.limits)
  // The limit may have been another one when the file came.
  if (stored.text.length > batch.limits.lineBytesMax) throw tooLarge(batch.limits.lineBytesMax)
  const line = readLine(stored)
  const row = seen.customIds.get(line.customId)
  if (row !== undefined) {
    const message = `\`custom_id\` stands in line ${row}, too: it must be unique, for results come in any order.`
    throw new InvalidRequestError(message, 'custom_id', 'duplicate_custom_id')
  }
  seen.customIds.set(line.customId, stored.row)
  const ids = namedByLine(line, batch.defaults)
  const credentials = ids.length === 0 ? seen.credentials.none : await seen.credentials.of(ids)
  const { model } = planOfLine(line, batch.defaults, batch.context, { ...deps, credentials })
  if (seen.models.size < 2) seen.models.add(model)
}

function faultOfUnkept({ code, at }: Unkept, limits: BatchToValidate['limits']): InvalidRequestError {
  if (code === 'line_too_large') return tooLarge(limits.lineBytesMax)
  if (code === 'too_many_lines') return new InvalidRequestError(tooMany(limits.linesMax).message, null, code)
  if (code === 'invalid_utf8')
    return new InvalidRequestError('The line is not UTF-8. It was not kept.', null, code)
  if (code === 'too_many_fields') {
    const message = `More than ${FIELDS_MAX} fields stand side by side in the line. It was not kept.`
    return new InvalidRequestError(message, null, code)
  }
  const what = at === null ? 'not a JSON object' : `not valid JSON from character ${at + 1} on`
  return new InvalidRequestError(`The line is ${what}. It was not kept.`, null, code)
}

function tooLarge(lineBytesMax: number): InvalidRequestError {
  const message = `The line is longer than the ${lineBytesMax} bytes a line may have.`
  return new InvalidRequestError(message, null, 'line_too_large')
}
