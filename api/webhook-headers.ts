import { InvalidRequestError } from '../shared/errors.ts'
import { formatPath } from '../shared/schema-issues.ts'

/** What frames a message or picks its way is ours, and so is what says who sends it: else one receiver's check could be led by another. */
const FORBIDDEN = new Set([
  'accept-encoding', 'connection', 'cookie', 'expect', 'forwarded', 'host', 'http2-settings', 'keep-alive', 'te', 'trailer',
  'transfer-encoding', 'upgrade', 'user-agent', 'via',
]) // oxfmt-ignore
const FORBIDDEN_FAMILIES = /^(content-|proxy-|webhook-|x-forwarded-)/

/**
 * Headers that a tenant wants to have sent along, names in lower case.
 * @throws {InvalidRequestError} for one that may not be, and for a name in two spellings.
 */
export function readWebhookHeaders(given: Record<string, string>): Record<string, string> {
  const headers = new Map<string, string>()
  for (const [spelt, value] of Object.entries(given)) {
    const name = spelt.toLowerCase()
    const param = formatPath(['headers', spelt])
    if (FORBIDDEN.has(name) || FORBIDDEN_FAMILIES.test(name)) {
      const message = `\`${name}\` is not a header that an endpoint can have sent along. Use \`authorization\`, or a name of your own such as \`x-api-key\`.`
      throw new InvalidRequestError(message, param, 'invalid_parameter')
    }
    if (headers.has(name)) {
      throw new InvalidRequestError(`\`${name}\` is given twice.`, param, 'invalid_parameter')
    }
    headers.set(name, value)
  }
  return Object.fromEntries(headers)
}
