import { InvalidRequestError, TooLargeError } from '../shared/errors.ts'
import type { Ids } from '../shared/ids.ts'
import type { Jobs } from '../shared/jobs/jobs.ts'
import { parseJsonLossless } from '../shared/lossless-json.ts'
import { jobIdOfResponse, responseIdOf } from '../shared/jobs/response-ids.ts'
import type { ResponseRequest } from '../shared/schemas/completion.ts'

type JsonObject = Record<string, unknown>

/** What a request's input is as a list of items. */
export function itemsOf(input: unknown): JsonObject[] {
  if (Array.isArray(input)) return input as JsonObject[] // checked by the request's schema
  if (typeof input !== 'string') return []
  return [{ type: 'message', role: 'user', content: [{ type: 'input_text', text: input }] }]
}

/** The same with an id for each, as a list shows them. */
export function listedItems(jobId: string, input: unknown): JsonObject[] {
  const stem = responseIdOf(jobId).replace(/^resp_/, '')
  return itemsOf(input).map((item, place) => ({ type: 'message', id: `item_${stem}_${place}`, ...item }))
}

/**
 * Puts in the place of a `previous_response_id` of ours what was said so far: whichever provider answers this time has the
 * whole conversation. An id that is not ours is a provider's own, and goes to it as it is.
 * @throws {InvalidRequestError} for one of ours that is unknown, another tenant's, not complete, or not kept.
 * @throws {TooLargeError} when the whole is larger than a request may be: each turn keeps all those before it.
 */
export async function withPrevious(
  body: ResponseRequest,
  tenant: string,
  { jobs, ids, bodyBytesMax }: { jobs: Jobs; ids: Ids; bodyBytesMax: number },
): Promise<ResponseRequest> {
  const { previous_response_id: previousId, ...rest } = body
  if (!previousId) return body
  const jobId = jobIdOfResponse(previousId)
  if (!/^job_[0-9a-f]{40}$/.test(jobId)) return body
  const isOwn = ids.isOwnJobId(tenant, jobId)
  const [view, request] = isOwn
    ? await Promise.all([jobs.read(tenant, jobId), jobs.readRequest(tenant, jobId)])
    : [null, null]
  if (!view || !request) throw notThere('is no response that is kept. Send the conversation in `input`.')
  if (view.job.status !== 'completed' || !view.result) {
    throw notThere(`is of a response that is ${view.job.status}: there is nothing to go on from.`)
  }
  const { output } = parseJsonLossless(view.result.body.toString()) as { output?: JsonObject[] } // checked by the worker
  const said = [...itemsOf(request['input']), ...(output ?? []), ...itemsOf(body.input)]
  if (Buffer.byteLength(JSON.stringify(said)) > bodyBytesMax) {
    throw new TooLargeError(
      `The conversation that \`previous_response_id\` stands for is larger than ${bodyBytesMax} bytes. Begin a new one, or send a shorter one in \`input\`.`,
    )
  }
  return { ...rest, input: said }
}

function notThere(what: string): InvalidRequestError {
  return new InvalidRequestError(
    `\`previous_response_id\` ${what}`,
    'previous_response_id',
    'previous_response_not_found',
  )
}
