import { InvalidRequestError } from '../errors.ts'

/**
 * Runs a check of a part of a request as if the part stood alone, and says of what it refuses where in the whole it
 * stands: `api_base` becomes `fallbacks[1].api_base`.
 */
export function within<Value>(path: string, check: () => Value): Value {
  try {
    return check()
  } catch (error) {
    if (!(error instanceof InvalidRequestError) || error.param === null) throw error
    const place = `${path}.${error.param}`
    const message = error.message.replace(`\`${error.param}\``, () => `\`${place}\``)
    throw new InvalidRequestError(message, place, error.code)
  }
}
