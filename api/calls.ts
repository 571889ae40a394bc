import type { FastifyReply, FastifyRequest } from 'fastify'
import { checkStream } from '../shared/jobs/completion-body.ts'
import { endpointNamed, type EndpointName } from '../shared/jobs/endpoints.ts'
import { SyncWaitExceededError } from '../shared/errors.ts'
import type { JobInput, JobView } from '../shared/jobs/jobs.ts'
import type { CompletionBody } from '../shared/schemas/completion.ts'
import { acceptAndSend, acceptCall } from './acceptance.ts'
import { followJob } from './following.ts'
import { missingJob, sendAccepted, sendCompletion } from './job-replies.ts'
import { parsePrefer, type Preference } from './prefer.ts'
import type { Presence } from './presence.ts'
import { readBetas } from './routing-headers.ts'
import { sendStream, type StreamingDeps } from './streaming.ts'
import { prepareJob, type SubmissionDeps } from './submission.ts'
import { awaitOwnJob, isFoundAgain } from './waiting.ts'

export type CallDeps = SubmissionDeps &
  StreamingDeps & {
    presence: Presence
    syncHoldMs: number
    /** How large a request may be; also with the conversation that it goes on from. */
    bodyBytesMax: number
  }

/** A call of an endpoint, checked by its schema. */
export type Call = {
  endpoint: EndpointName
  body: CompletionBody
  /** The job shall go on whoever leaves: it is asked for by its id later. */
  isBackground?: boolean
}

/**
 * Answers calls of completions: with the result as soon as it is there, its stream, or by `Prefer` with a 202 and the job.
 */
export function createCalls(deps: CallDeps) {
  const { jobs, settled, holds } = deps

  /** Answers one call. */
  async function answer(request: FastifyRequest, reply: FastifyReply, call: Call): Promise<FastifyReply> {
    const preference = parsePrefer(request.headers.prefer)
    const isStream = call.body.stream === true
    const isAsync = !isStream && (preference.respondAsync || preference.waitSeconds !== null)
    const input = await prepare(request, call, isAsync || call.isBackground ? 'async' : 'sync')
    void reply.header('vary', 'Prefer')
    // A 202 in place of a stream is swallowed by the SDKs: the preference does not count there.
    if (isStream) return stream(reply, input, call)
    if (!isAsync) {
      const view = await createAndAwait(reply, input, deps.syncHoldMs)
      if (!view.isTerminal) throw new SyncWaitExceededError(view.job.id, isFoundAgain(input))
      return sendCompletion(reply, view)
    }
    return answerLater(reply, input, preference)
  }

  /** Checks a call and makes a job of it, which is not stored yet. */
  async function prepare(
    request: FastifyRequest,
    { endpoint: name, body: given }: Call,
    mode: 'sync' | 'async',
  ): Promise<JobInput> {
    const endpoint = endpointNamed(name)
    const { job: options = {}, customer = null, ...fields } = given
    const body = name === 'messages' ? { ...readBetas(request.headers), ...fields } : fields
    checkStream(endpoint, body, '')
    const path = endpoint.path
    const input = await prepareJob(
      { request, mode, endpoint, path, body, customer, options, bodyPath: '', optionsPath: 'job.' },
      deps,
    )
    // For input_items, and for whoever goes on from it.
    return name === 'responses' && body['store'] !== false ? { ...input, keepsRequest: true } : input
  }

  async function answerLater(
    reply: FastifyReply,
    input: JobInput,
    preference: Preference,
  ): Promise<FastifyReply> {
    const waitMs = Math.min((preference.waitSeconds ?? 0) * 1000, deps.syncHoldMs)
    void reply.header('preference-applied', formatPreference(preference, waitMs))
    if (waitMs === 0) return acceptAndSend(reply, input, deps)
    const view = await createAndAwait(reply, input, waitMs)
    if (!view.isTerminal) return sendAccepted(reply, view.job)
    void reply.header('preference-applied', formatPreference({ ...preference, respondAsync: false }, waitMs))
    return sendCompletion(reply, view)
  }

  async function stream(reply: FastifyReply, input: JobInput, call: Call): Promise<FastifyReply> {
    const { tenant } = input
    let following = followJob(deps, { tenant, id: input.id, isNew: true })
    let accepted: Awaited<ReturnType<typeof acceptCall>>
    try {
      accepted = await acceptCall(reply, input, deps)
    } catch (error) {
      following.close()
      throw error
    }
    const { kind, id, caller } = accepted
    if (kind !== 'created') {
      following.close()
      following = followJob(deps, { tenant, id, isNew: false })
    }
    const job = { tenant, id, endpoint: call.endpoint, caller, isFoundAgain: isFoundAgain(input) }
    return sendStream(reply, deps, job, following)
  }

  async function createAndAwait(reply: FastifyReply, input: JobInput, waitMs: number): Promise<JobView> {
    const { tenant } = input
    // The watch stands before the job exists: a fast one could end before anybody listened.
    let watch = settled.watch(input.id)
    const hold = holds.hold(reply)
    try {
      const { kind, id, caller } = await acceptCall(reply, { ...input, replyTo: settled.replyTo }, deps)
      if (kind !== 'created') {
        watch.close()
        watch = settled.watch(id)
      }
      const isFresh = kind === 'created'
      const view = await awaitOwnJob(jobs, input, { id, watch, waitMs, signal: hold.signal, isFresh })
      if (!view) throw missingJob(deps.ids, tenant, id)
      if (view.isTerminal) caller.noteAnswer()
      return view
    } finally {
      watch.close()
      hold.release()
    }
  }

  return { answer, prepare }
}

export type Calls = ReturnType<typeof createCalls>

/** What was applied, for `Preference-Applied`. */
function formatPreference({ respondAsync, waitSeconds }: Preference, waitMs: number): string {
  const asynchronous = respondAsync ? ['respond-async'] : []
  const wait = waitSeconds === null ? [] : [`wait=${Math.floor(waitMs / 1000)}`]
  return [...asynchronous, ...wait].join(', ')
}
