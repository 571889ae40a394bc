import { z } from 'zod'
import type { StoredLine } from './batch-input-lines.ts'
import type { Allowed } from '../tenants/allowed.ts'
import { parseClientJson } from '../client-json.ts'
import { findEndpoint, readCompletion } from '../jobs/completion-body.ts'
import type { Endpoint } from '../jobs/endpoints.ts'
import { CredentialNotFoundError, GatewayError, InvalidRequestError, NotAllowedError } from '../errors.ts'
import { careOf, ERASED, isBesideBody, isCredential, isSecret, withoutBundle } from './line-fields.ts'
import { recallPlan, type LinePlans } from './line-plans.ts'
import { credentialIds, namesCredential, type NamedCredentials } from '../credentials/named-credentials.ts'
import { nearMissOf } from '../settings/near-misses.ts'
import { invalid, isObject } from '../settings/notes.ts'
import { resolvePlan, type PlanDependencies, type ResolvedPlan } from '../plans/plan.ts'
import { describeIssue } from '../schema-issues.ts'
import { Customer } from '../schemas/completion.ts'

/** One line as it was sent, its credentials back in their places. */
export type InputLine = {
  /** 0-based, blank lines not counted. */
  line: number
  customId: string
  /** Null: the batch's endpoint. */
  url: string | null
  customer: string | null
  /** Fields of the gateway beside `body`: credentials, `num_retries`, ... Never null. */
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
  /** What the gateway key may ask for that submitted the batch; anything unless it says otherwise. */
  allowed?: Allowed | undefined
}

/** Stored credentials that a line names, and the plans that were made with these: not kept for longer than they are. */
export type LineCredentials = { named: NamedCredentials; plans: LinePlans }

export type LinePlan = ResolvedPlan & { customer: string | null; endpoint: Endpoint }

const LineFields = z.looseObject({
  custom_id: z
    .string()
    .min(1)
    .max(256)
    .refine((text) => text.isWellFormed(), 'It must be well-formed Unicode'),
  method: z.literal('POST').nullish(),
  url: z.string().nullish(),
  customer: Customer.nullish(),
  body: z.custom<Record<string, unknown>>(isObject, 'It must be an object'),
})

/**
 * Reads one line of an input.
 * @throws {InvalidRequestError} with the JSON path in the line.
 */
export function readLine({
  line,
  text,
  credentials,
}: Pick<StoredLine, 'line' | 'text' | 'credentials'>): InputLine {
  const value = parseClientJson(text.toString(), 'The line')
  const parsed = LineFields.safeParse(value)
  if (!parsed.success) throw describeIssue(parsed.error, value)
  const { custom_id: customId, method: _method, url = null, customer = null, body, ...others } = parsed.data
  return { line, customId, url, customer, settings: settingsOf(others), body, credentials }
}

/** A line that can't be run. `customId`: as far as it has one. */
export type FaultyLine = { line: number; customId: string; fault: GatewayError }

/** The same for one that was validated, maybe by an older version: it must not hold up the others. */
export function tryReadLine(
  stored: Pick<StoredLine, 'line' | 'text' | 'credentials'>,
): InputLine | FaultyLine {
  try {
    return readLine(stored)
  } catch (fault) {
    if (!(fault instanceof GatewayError)) throw fault
    return { line: stored.line, customId: customIdOf(stored.text), fault }
  }
}

function customIdOf(text: Buffer): string {
  try {
    const { custom_id: customId } = JSON.parse(text.toString()) as { custom_id?: unknown }
    return typeof customId === 'string' ? customId : ''
  } catch {
    return ''
  }
}

function settingsOf(fields: Record<string, unknown>): Record<string, unknown> {
  const settings: Record<string, unknown> = {}
  for (const [name, value] of Object.entries(fields)) {
    if (value === null) continue
    if (!isBesideBody(name)) throw unknownField(name)
    settings[name] = value
  }
  return settings
}

function unknownField(name: string): InvalidRequestError {
  const meant = nearMissOf(name)
  const advice = meant === null ? 'What is for the provider belongs into `body`.' : `Did you mean "${meant}"?`
  const message = `\`${name}\` is not a field of a batch line. ${advice}`
  return new InvalidRequestError(message, name, 'unknown_parameter')
}

/** Ids of the stored credentials that the plan of a line may need. */
export function namedByLine({ settings, body }: InputLine, defaults: Record<string, unknown>): string[] {
  return [...new Set([settings, body, defaults].flatMap(credentialIds))]
}

/**
 * The plan of one line: the batch's fields lie under its own, and a line with credentials of its own has nothing of the
 * batch's.
 * @param dependencies `plans`: with it, lines that differ in nothing a plan goes by are resolved once. `credentials`: those of
 *   `namedByLine`.
 * @throws {InvalidRequestError} with the JSON path in the line.
 * @throws {CredentialNotFoundError} with it, too.
 */
export function planOfLine(
  line: InputLine,
  defaults: Record<string, unknown>,
  context: LineContext,
  dependencies: PlanDependencies & { plans?: LinePlans; credentials?: LineCredentials },
): LinePlan {
  const endpoint = endpointOf(line, context)
  const own = ownFields(line)
  const under = Object.keys(own).some(isCredential) ? withoutBundle(defaults) : defaults
  const isOfKind =
    !namesCredential(own) && !Object.entries(own).some(([name, value]) => isSecret(careOf(name), value))
  const { credentials } = dependencies
  const plans = namesCredential(under) ? credentials?.plans : dependencies.plans
  return inLine(line, under, () => {
    refuseOfBatch(own)
    const fields = { ...under, ...own, customer: own['customer'] }
    const { customer: inBody = null, ...body } = readCompletion(endpoint, fields)
    const customer = line.customer ?? inBody ?? context.customer
    const { tenant, allowed } = context
    const named = credentials?.named
    const request = { body, tenant, customer, endpoint: endpoint.name, allowed, named }
    const resolve = () => resolvePlan(request, dependencies)
    const resolved = plans && isOfKind ? recallPlan(plans, request, under, resolve) : resolve()
    return { ...resolved, customer, endpoint }
  })
}

function endpointOf({ url }: InputLine, { endpoint }: LineContext): Endpoint {
  if (endpoint !== '*') {
    if (url === null || url === endpoint) return findEndpoint(endpoint)
    const message = `\`url\` is not the endpoint of the batch, which is ${endpoint}. For mixed lines make a batch with the endpoint "*".`
    throw new InvalidRequestError(message, 'url', 'mismatched_url')
  }
  if (url === null) {
    const message = '`url` is required: a batch with the endpoint "*" has none for its lines.'
    throw new InvalidRequestError(message, 'url', 'missing_required_parameter')
  }
  return findEndpoint(url, 'url')
}

/** What the line itself says, beside its body and in it. A field of the gateway that is null is not given. */
function ownFields({ settings, body }: InputLine): Record<string, unknown> {
  const own: Record<string, unknown> = { ...settings }
  for (const [name, value] of Object.entries(body)) {
    if (value === null && careOf(name) !== 'plain') continue
    if (Object.hasOwn(settings, name))
      throw invalid(`body.${name}`, 'stands beside `body`, too: give it once.')
    own[name] = value
  }
  return own
}

/** What has no meaning in a line, and would be dropped without a word. */
function refuseOfBatch(own: Record<string, unknown>): void {
  const erased = Object.keys(own).find((name) => own[name] === ERASED && careOf(name) !== 'plain')
  if (erased !== undefined) {
    const message = `\`${erased}\` is needed again: credentials are erased once a line has run.`
    throw new InvalidRequestError(message, erased, 'credentials_required')
  }
  if (own['stream'] === true) {
    const message = 'A batch has no streams: leave `stream` out, or set it to false.'
    throw new InvalidRequestError(message, 'stream', 'unsupported_stream')
  }
  if (own['background'] === true) throw invalid('background', 'has no meaning in a batch: leave it out.')
  if (own['priority'] !== undefined) throw invalid('priority', 'is for a whole batch: give it there.')
  if (own['job'] !== undefined) throw invalid('job', 'is for single jobs: a batch has its own options.')
}

// The plan names fields as if all of them lay side by side.
function inLine<T>({ settings, body }: InputLine, under: Record<string, unknown>, work: () => T): T {
  try {
    return work()
  } catch (error) {
    const isElsewhere = error instanceof NotAllowedError || error instanceof CredentialNotFoundError
    if (!(isElsewhere || error instanceof InvalidRequestError) || error.param === null) throw error
    const name = /^[^.[]*/.exec(error.param)?.[0] ?? ''
    const isBeside =
      Object.hasOwn(settings, name) || (!Object.hasOwn(body, name) && Object.hasOwn(under, name))
    if (isBeside) throw error
    const param = `body.${error.param}`
    if (isElsewhere) throw error.at(param)
    throw new InvalidRequestError(
      error.message.replace(`\`${error.param}\``, () => `\`${param}\``),
      param,
      error.code,
    )
  }
}
