import { TIMEOUT_S_MAX, secondsOf } from '../settings/caps.ts'
import { InvalidRequestError } from '../errors.ts'
import { within } from '../settings/error-place.ts'
import { capped, invalid } from '../settings/notes.ts'
import type { PlanContext } from './plan-context.ts'
import type { Group, Member } from './plan-groups.ts'
import { isInert } from '../settings/refused-keys.ts'
import type { GivenObject } from './request-fallbacks.ts'
import { takePlaces } from '../settings/request-places.ts'
import { splitRequest } from '../settings/request-settings.ts'
import type { SplitRequest } from '../settings/request-settings.ts'
import { Timeout } from '../schemas/user-config.ts'

/** Where the model of an object is looked up; each is asked as if the object were the request. */
export type HopFinder = {
  /** Without credentials: among the names of the plan. */
  named: (asked: PlanContext) => Group
  withCredentials: (asked: PlanContext) => Group
}

const MOCK_FIELDS = ['mock_delay', 'mock_response', 'mock_timeout']
/** Fields of the gateway that one fallback may have for itself. */
const HOP_FIELDS: ReadonlySet<string> = new Set([
  ...MOCK_FIELDS,
  'custom_llm_provider',
  'default_headers',
  'extra_body',
  'extra_headers',
  'headers',
  'request_timeout',
  'stream_timeout',
  'timeout',
])
const HEADER_FIELDS = ['extra_headers', 'headers', 'default_headers', 'custom_llm_provider']

/**
 * Makes groups of fallbacks that are objects: each is the request with other fields, for its call alone. Its name is made
 * up and holds a control character, which no `model_name` can.
 */
export function createHops(context: PlanContext, finder: HopFinder): (object: GivenObject) => Group {
  return (object) => {
    const { name, model, path } = { ...object, name: `\u001f${object.path}` }
    const split = within(path, () =>
      takePlaces(splitHop(object.fields, context.split), model, context.operator),
    )
    const { timeoutS, streamTimeoutS } = readTimeouts(split.gateway, path, context)
    const hasCredentials = Object.keys(split.credentials).length > 0
    const { model: _model, ...overrides } = split.body
    const found = within(path, () => {
      if (!hasCredentials) return finder.named({ ...context, model, split })
      requireAllowed(context, split)
      return finder.withCredentials({ ...context, model, split })
    })
    const isRewriting = Object.keys(overrides).length > 0
    return {
      ...found,
      name,
      members: () => found.members().map((member) => (isRewriting ? rewritten(member, overrides) : member)),
      hop: { label: model, isRewriting, timeoutS, streamTimeoutS },
    }
  }
}

function rewritten(member: Member, overrides: Record<string, unknown>): Member {
  return { ...member, own: { ...member.own, overrides } }
}

/** An object as a request: what steers the whole job is not its to set. */
function splitHop(fields: Record<string, unknown>, whole: SplitRequest): SplitRequest {
  const { body, gateway, credentials } = splitRequest(fields)
  for (const [field, value] of Object.entries(gateway)) {
    if (HOP_FIELDS.has(field) || isInert(value) || isSame(value, whole.gateway[field])) continue
    const what = /fallbacks$|^user_config$/.test(field)
      ? "can't stand inside a fallback: give it beside `fallbacks`."
      : "can't be set for one fallback alone: it is for the whole request."
    throw invalid(field, what)
  }
  for (const field of ['stream', 'stream_options']) {
    const value = body[field]
    delete body[field]
    if (isInert(value) || isSame(value, whole.body[field])) continue
    throw invalid(field, 'differs from that of the request, which all its fallbacks answer.')
  }
  // A canned answer for the request is one for each of its calls.
  const mocks = MOCK_FIELDS.flatMap((name) => {
    const value = whole.gateway[name]
    return value === undefined ? [] : [[name, value] as const]
  })
  return { body, gateway: { ...Object.fromEntries(mocks), ...gateway }, credentials }
}

function isSame(value: unknown, other: unknown): boolean {
  return JSON.stringify(value) === JSON.stringify(other)
}

function requireAllowed({ operator }: PlanContext, { credentials }: SplitRequest): void {
  if (operator.generalSettings.allowClientSideCredentials) return
  const field = Object.keys(credentials)[0] ?? 'api_key'
  const message = `\`${field}\` is refused: this gateway takes no credentials from clients.`
  throw new InvalidRequestError(message, field, 'client_credentials_disabled')
}

function readTimeouts(gateway: Record<string, unknown>, path: string, { notes }: PlanContext) {
  const read = (name: string) => {
    const value = gateway[name]
    if (value === undefined) return null
    const at = `${path}.${name}`
    if (!Timeout.safeParse(value).success) throw invalid(at, 'must be a number of seconds above 0.')
    return capped(secondsOf(value), TIMEOUT_S_MAX, at, notes)
  }
  const timeoutS = read('timeout') ?? read('request_timeout')
  return { timeoutS, streamTimeoutS: read('stream_timeout') ?? timeoutS }
}

/**
 * Refuses what would reach every deployment of a list: headers, and a provider by name.
 * @throws {InvalidRequestError} with the field as path.
 */
export function refuseHeaders(gateway: Record<string, unknown>, what: string): void {
  for (const field of HEADER_FIELDS) {
    if (gateway[field] !== undefined) throw invalid(field, what)
  }
}
