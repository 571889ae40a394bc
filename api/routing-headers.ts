import type { IncomingHttpHeaders } from 'node:http'
import { InvalidRequestError } from '../shared/errors.ts'

/** LiteLLM's request headers that stand instead of a field of the body. */
const NUMBERS: Readonly<Record<string, string>> = {
  'x-litellm-timeout': 'timeout',
  'x-litellm-stream-timeout': 'stream_timeout',
  'x-litellm-num-retries': 'num_retries',
}
const TAGS = 'x-litellm-tags'

/**
 * The fields that a request's headers set; they win over the body's, as all headers do here.
 * @throws {InvalidRequestError} naming the header.
 */
export function readRoutingHeaders(headers: IncomingHttpHeaders): Record<string, unknown> {
  const fields: Record<string, unknown> = {}
  for (const [header, field] of Object.entries(NUMBERS)) {
    const text = [headers[header] ?? []].flat().join(',').trim()
    if (text === '') continue
    if (!/^\d{1,9}(\.\d{1,9})?$/.test(text))
      throw new InvalidRequestError(`\`${header}\` must be a number.`, header)
    fields[field] = Number(text)
  }
  const tags = [headers[TAGS] ?? []]
    .flat()
    .join(',')
    .split(',')
    .map((tag) => tag.trim())
  const given = tags.filter((tag) => tag !== '')
  if (given.length > 0) fields['tags'] = given
  return fields
}
