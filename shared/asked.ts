import { careOf, isSecret, withoutSecrets } from './line-fields.ts'
import { isObject } from './notes.ts'
import { LOCATION_FIELDS, REQUEST_FIELDS } from './schemas/field-names.ts'

/** Of the gateway's fields those that a job's own record has, or whose content went into the provider's body. */
const ELSEWHERE: ReadonlySet<string> = new Set(['customer', 'extra_body', 'job', 'metadata'])

const OURS: ReadonlySet<string> = new Set([...REQUEST_FIELDS, ...LOCATION_FIELDS])

/** What a retry of a job starts from, beside what its provider was asked. */
export type Asked = {
  /** Fields of the gateway that hold no secret and go with none: `num_retries`, `timeout`, `tags`, names of fallbacks, ... */
  fields: Record<string, unknown>
  /** Names of those that were, or may have held, a credential; they are not kept. */
  erased: string[]
}

/** What of a request's own settings outlives its job's end, for a retry. */
export function askedOf(body: Record<string, unknown>): Asked {
  const given = Object.entries({ ...tagsOf(body), ...body }).filter(
    ([name, value]) => !ELSEWHERE.has(name) && isSaid(value),
  )
  const erased = given.flatMap(([name, value]) => (isSecret(careOf(name), value) ? [name] : []))
  const ours = Object.fromEntries(given.filter(([name]) => isOurs(name) && !erased.includes(name)))
  return { fields: erased.length === 0 ? ours : withoutSecrets(ours), erased }
}

// LiteLLM's other place for them, which the plan takes them out of.
function tagsOf({ metadata }: Record<string, unknown>): Record<string, unknown> {
  return isObject(metadata) && Array.isArray(metadata['tags']) ? { tags: metadata['tags'] } : {}
}

// A place is a parameter of the provider's where it has no use for it here; laid over the body again, it changes nothing.
function isOurs(name: string): boolean {
  return OURS.has(name) || name.startsWith('litellm_')
}

function isSaid(value: unknown): boolean {
  return value !== null && value !== undefined
}
