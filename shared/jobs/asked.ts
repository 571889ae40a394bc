import { careOf, isBesideBody, isSecret, withoutSecrets } from '../batches/line-fields.ts'
import { isObject } from '../settings/notes.ts'
import { LOCATION_FIELDS, REQUEST_FIELDS } from '../schemas/field-names.ts'

/** Of the gateway's fields those that a job's own record has, or whose content went into the provider's body. */
const ELSEWHERE: ReadonlySet<string> = new Set(['customer', 'extra_body', 'job', 'metadata'])

const OURS: ReadonlySet<string> = new Set([...REQUEST_FIELDS, ...LOCATION_FIELDS])

/** What a retry of a job starts from, beside what its provider was asked. */
export type Asked = {
  /** Fields of the gateway that hold no secret and go with none: `num_retries`, `timeout`, `tags`, names of fallbacks, ... */
  fields: Record<string, unknown>
  /** Names of those that were, or may have held, a credential, or went with one; they are not kept. */
  erased: string[]
}

/** What of a request's own settings outlives its job's end, for a retry. */
export function askedOf(body: Record<string, unknown>): Asked {
  const given = Object.entries({ ...tagsOf(body), ...body }).filter(
    ([name, value]) => !ELSEWHERE.has(name) && isSaid(value),
  )
  const secrets = new Set(given.flatMap(([name, value]) => (isSecret(careOf(name), value) ? [name] : [])))
  // What has no place in a request (an empty `litellm_params`) is nothing that anybody would miss, or could give anew.
  const erased = [...secrets].filter(isBesideBody)
  const ours = Object.fromEntries(given.filter(([name]) => isOurs(name) && !secrets.has(name)))
  if (erased.length === 0) return { fields: ours, erased }
  const fields = withoutSecrets(ours)
  return { fields, erased: [...erased, ...Object.keys(ours).filter((name) => !Object.hasOwn(fields, name))] }
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
