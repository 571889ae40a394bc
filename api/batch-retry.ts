import type { FastifyRequest } from 'fastify'
import type { BatchInput } from '../shared/batches/batch-input.ts'
import type { BatchView } from '../shared/batches/batch-record.ts'
import type { Batches } from '../shared/batches/batches.ts'
import { CredentialNotFoundError, InvalidRequestError } from '../shared/errors.ts'
import type { Files } from '../shared/files/files.ts'
import type { KeptDefaults } from '../shared/batches/kept-defaults.ts'
import {
  careOf,
  ERASED,
  isBesideBody,
  isCredential,
  isSetting,
  missingPlace,
} from '../shared/batches/line-fields.ts'
import { parseJsonLossless } from '../shared/lossless-json.ts'
import { namesCredential } from '../shared/credentials/named-credentials.ts'
import { BatchRetryRequest } from '../shared/schemas/batch.ts'
import { checkDefaults } from './batch-defaults.ts'
import { bringsCredential, draftFrom, type BatchDraft, type BatchRequestDeps } from './batch-requests.ts'
import { openNamed } from './submission.ts'

const ECHO_MAX = 64

export type BatchRetryDeps = BatchRequestDeps & {
  batches: Pick<Batches, 'entries' | 'keptDefaults'>
  files: Pick<Files, 'read'>
  input: Pick<BatchInput, 'text'>
}

/**
 * A batch of those lines of an ended one that did not complete, with what it said unless the request says otherwise.
 * Credentials were erased with the end of each line: fresh ones are needed wherever there were some.
 * @returns the lines while they are read: reading them throws what is wrong with their credentials.
 * @throws {InvalidRequestError}
 */
export async function draftRetry(
  request: FastifyRequest,
  body: BatchRetryRequest,
  batch: BatchView,
  deps: BatchRetryDeps,
): Promise<{ draft: BatchDraft; lines: AsyncIterable<Buffer> }> {
  const { tenant, id } = batch
  if (!batch.isTerminal) {
    const message = `This batch is ${batch.status}: only one that has ended can be retried. Cancel it, or wait for its end.`
    throw new InvalidRequestError(message, null, 'batch_not_ended')
  }
  const again = await readUnfinished(deps.batches, batch)
  if (again.length === 0) throw nothingToRetry(batch)
  const file = await deps.files.read(tenant, batch.inputFileId)
  if (!file) {
    const message = 'The input file of this batch is gone, and its lines with it: make a new batch.'
    throw new InvalidRequestError(message, null, 'file_not_found')
  }
  const kept = await deps.batches.keptDefaults(tenant, id)
  requireSettings(kept, body)
  const ownFields = Object.keys(BatchRetryRequest.shape)
  const path = `/v1/batches/${id}/retry`
  const base = { ...batch, retryOf: id, defaults: kept.defaults }
  const draft = await draftFrom(base, { request, body, path, ownFields }, deps)
  const input = {
    tenant,
    fileId: file.id,
    bytes: file.bytes,
    frameBytes: file.frameBytes,
    lines: file.lines ?? 0,
  }
  const credentials = await readCredentials(body.credentials ?? {}, tenant, deps)
  const needs = {
    credentials,
    /** There are some for every line. */
    hasDefault: bringsCredential(body),
    erasedDefault: kept.erased,
    given: body,
  }
  return { draft, lines: withCredentials(deps.input.text(input, again), needs) }
}

/** Lines that failed, expired or were cancelled, in order. */
async function readUnfinished(
  batches: BatchRetryDeps['batches'],
  { tenant, id }: BatchView,
): Promise<number[]> {
  const lines: number[] = []
  for (let place = 0; ;) {
    const { entries, next } = await batches.entries(tenant, id, place)
    for (const { line, outcome } of entries) if (outcome !== 'completed') lines.push(line)
    if (next === place) return lines.toSorted((left, right) => left - right)
    place = next
  }
}

function nothingToRetry({ status, total }: BatchView): InvalidRequestError {
  const message =
    status === 'failed' && total === 0
      ? 'The input of this batch was refused, so no line of it ever ran: mend it, and make a new batch.'
      : 'Every line of this batch has completed, or its results are not kept any more: there is nothing to retry.'
  return new InvalidRequestError(message, null, 'nothing_to_retry')
}

/**
 * What was erased and is no credential by itself (headers, `extra_body`) must be said anew, or the calls would be others; and so
 * must the place that credentials were for, where there are fresh ones.
 */
function requireSettings({ erased }: KeptDefaults, body: BatchRetryRequest): void {
  const setting = erased.find((name) => isSetting(name) && !Object.hasOwn(body, name))
  if (setting !== undefined) {
    const message = `\`${setting}\` was erased when the batch ended, since it may hold credentials. Give it anew, or null to leave it out.`
    throw new InvalidRequestError(message, setting, 'credentials_required')
  }
  const place = bringsCredential(body) ? missingPlace(erased, body) : undefined
  if (place === undefined) return
  const message = `\`${place}\` was erased with the credentials that went there. Give it anew, or null: then a key goes where the provider of a line's model is.`
  throw new InvalidRequestError(message, place, 'credentials_required')
}

/**
 * @throws {InvalidRequestError} with the path of what is no credential, or not a good one.
 * @throws {CredentialNotFoundError} with the path of one that is not stored.
 */
async function readCredentials(
  given: Record<string, Record<string, unknown>>,
  tenant: string,
  deps: BatchRequestDeps,
): Promise<Map<string, Record<string, unknown>>> {
  for (const [customId, fields] of Object.entries(given)) {
    const path = `credentials[${JSON.stringify(customId)}]`
    const foreign = Object.keys(fields).find((name) => !isBesideBody(name))
    if (foreign !== undefined) {
      const message = `\`${path}.${foreign}\` is no credential, nor anything else of the gateway's. A line is run again as it was.`
      throw new InvalidRequestError(message, `${path}.${foreign}`, 'unknown_parameter')
    }
    // One after the other: together they may be more than there is memory for.
    const named = await openNamed(fields, tenant, deps)
    try {
      // Whose a line is, is told with the line.
      const [{ customer } = { customer: null }] = named.values()
      checkDefaults({ fields, batchFields: [], customer, named }, deps)
    } catch (error) {
      if (error instanceof CredentialNotFoundError) throw error.at(`${path}.${error.param}`)
      if (!(error instanceof InvalidRequestError) || error.param === null) throw error
      throw new InvalidRequestError(error.message, `${path}.${error.param}`, error.code)
    }
  }
  return new Map(Object.entries(given))
}

type Needs = {
  credentials: Map<string, Record<string, unknown>>
  hasDefault: boolean
  /** Names of what there was for every line, and is no more. */
  erasedDefault: readonly string[]
  /** What is given for every line. */
  given: Readonly<Record<string, unknown>>
}

async function* withCredentials(
  lines: AsyncIterable<{ text: Buffer }>,
  needs: Needs,
): AsyncGenerator<Buffer> {
  const unused = new Set(needs.credentials.keys())
  for await (const { text } of lines) {
    // It was validated before it ran.
    const line = parseJsonLossless(text.toString()) as { custom_id: string; body: Record<string, unknown> }
    unused.delete(line.custom_id)
    yield Buffer.from(`${JSON.stringify(renewed(line, needs))}\n`)
  }
  const [unknown] = unused
  if (unknown === undefined) return
  const path = `credentials[${JSON.stringify(unknown)}]`
  throw new InvalidRequestError(`\`${path}\` names no line that is retried.`, path, 'unknown_parameter')
}

/** A line without what was erased of it, and with what is given instead. */
function renewed(line: { custom_id: string; body: Record<string, unknown> }, needs: Needs): object {
  const fresh = needs.credentials.get(line.custom_id) ?? {}
  const erased = [...erasedIn(line), ...erasedIn(line.body)]
  const isRenewed = bringsCredential(fresh)
  const hasStored = [line, line.body].some((fields) => namesCredential({ ...fields }))
  const isServed = needs.hasDefault || isRenewed || hasStored
  const had = erased.some(isCredential) ? erased : needs.erasedDefault
  if (!isServed && had.some(isCredential)) throw credentialsRequired(line.custom_id)
  const missing = erased.find(
    (name) => !isCredential(name) && !Object.hasOwn(fresh, name) && !Object.hasOwn(needs.given, name),
  )
  // With the batch's own, what the batch had was looked at before.
  const place = isRenewed ? missingPlace(had, fresh) : missingPlace(erased, needs.given)
  const unsaid = missing ?? (isServed && !hasStored ? place : undefined)
  if (unsaid !== undefined) throw credentialsRequired(line.custom_id, unsaid)
  const replaced = new Set([...erased, ...Object.keys(fresh), ...(isRenewed ? ['credential'] : [])])
  const left = (fields: object) =>
    Object.fromEntries(Object.entries(fields).filter(([name]) => !replaced.has(name)))
  return { ...left(line), ...fresh, body: left(line.body) }
}

function erasedIn(fields: object): string[] {
  return Object.entries(fields).flatMap(([name, value]) =>
    value === ERASED && careOf(name) !== 'plain' ? [name] : [],
  )
}

function credentialsRequired(customId: string, field?: string): InvalidRequestError {
  const name = JSON.stringify(customId.slice(0, ECHO_MAX).toWellFormed())
  const what = field === undefined ? 'The credentials' : `\`${field}\``
  const message = `${what} of line ${name} were erased when it ended. Give them anew in \`credentials\` under its \`custom_id\`, or for all lines beside that.`
  return new InvalidRequestError(message, 'credentials', 'credentials_required')
}
