import type { IncomingHttpHeaders } from 'node:http'
import { InvalidRequestError } from '../shared/errors.ts'

type Rule = { field: string; isValid: (value: number) => boolean; kind: string }

const SECONDS = { isValid: (value: number) => value > 0, kind: 'a number of seconds above 0' }
const COUNT = { isValid: (value: number) => Number.isInteger(value), kind: 'a whole number, 0 or more' }

/** Request headers that stand instead of a field of the body: LiteLLM's, and ours, which wins. */
const NUMBERS: Readonly<Record<string, Rule>> = {
  'x-litellm-timeout': { field: 'timeout', ...SECONDS },
  'x-litellm-stream-timeout': { field: 'stream_timeout', ...SECONDS },
  'x-litellm-num-retries': { field: 'num_retries', ...COUNT },
  'x-job-timeout': { field: 'timeout', ...SECONDS },
}
const TAGS = 'x-litellm-tags'

/**
 * The fields that a request's headers set; they win over the body's, as all headers do here.
 * @throws {InvalidRequestError} naming the header: the body has no field that the caller could look for.
 */
export function readRoutingHeaders(headers: IncomingHttpHeaders): Record<string, unknown> {
  const fields: Record<string, unknown> = {}
  for (const [header, { field, isValid, kind }] of Object.entries(NUMBERS)) {
    const text = [headers[header] ?? []].flat().join(',').trim()
    if (text === '') continue
    const value = /^\d{1,9}(\.\d{1,9})?$/.test(text) ? Number(text) : Number.NaN
    if (!isValid(value)) throw new InvalidRequestError(`\`${header}\` must be ${kind}.`, header)
    fields[field] = value
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

const BETAS = /^[\w.,: -]{1,1024}$/

/**
 * What Anthropic's SDK asks for by `anthropic-beta`, as a field of its request: a job is made of a body alone.
 * @throws {InvalidRequestError}
 */
export function readBetas(headers: IncomingHttpHeaders): Record<string, unknown> {
  const text = [headers['anthropic-beta'] ?? []].flat().join(',').trim()
  if (text === '') return {}
  if (!BETAS.test(text)) {
    throw new InvalidRequestError(
      '`anthropic-beta` must be names of betas, comma-separated.',
      'anthropic-beta',
    )
  }
  return {
    anthropic_beta: text
      .split(',')
      .map((name) => name.trim())
      .filter((name) => name !== ''),
  }
}
