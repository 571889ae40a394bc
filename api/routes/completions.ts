import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { ZodTypeProvider } from 'fastify-type-provider-zod'
import { SyncWaitExceededError } from '../../shared/errors.ts'
import type { JobInput, Jobs, JobView } from '../../shared/jobs.ts'
import { ChatCompletion, ChatCompletionRequest } from '../../shared/schemas/completion.ts'
import { ErrorResponse } from '../../shared/schemas/error.ts'
import { Job } from '../../shared/schemas/job.ts'
import type { SettledListener } from '../../shared/settled.ts'
import type { Holds } from '../holds.ts'
import { missingJob, sendAccepted, sendCompletion } from '../job-replies.ts'
import { parsePrefer, type Preference } from '../prefer.ts'
import { acceptJob, CHAT_COMPLETIONS, prepareJob, type SubmissionDeps } from '../submission.ts'
import { awaitOwnJob } from '../waiting.ts'

export type CompletionDeps = SubmissionDeps & {
  jobs: Jobs
  settled: SettledListener
  holds: Holds
  syncHoldMs: number
}

/** `POST /chat/completions`: OpenAI's call, run as a job. The answer is waited for unless `Prefer` says otherwise. */
export function addCompletionRoutes(app: FastifyInstance, deps: CompletionDeps): void {
  const { jobs, settled, holds } = deps
  const schema = {
    summary: 'Create a chat completion',
    description:
      'Waits for the result. With `Prefer: respond-async` the answer is a 202 and a job; with `Prefer: wait=N` the result if it is there within N seconds, else the 202.',
    tags: ['completions'],
    body: ChatCompletionRequest,
    response: { 200: ChatCompletion, 202: Job, '4xx': ErrorResponse, '5xx': ErrorResponse },
  }

  app.withTypeProvider<ZodTypeProvider>().post('/chat/completions', { schema }, async (request, reply) => {
    const { job: options = {}, customer = null, ...body } = request.body
    const preference = parsePrefer(request.headers.prefer)
    const isAsync = preference.respondAsync || preference.waitSeconds !== null
    const mode = isAsync ? 'async' : 'sync'
    const input = prepareJob(
      { request, mode, path: CHAT_COMPLETIONS, body, customer, options, bodyPath: '', optionsPath: 'job.' },
      deps,
    )
    void reply.header('vary', 'Prefer')
    const waitMs = isAsync ? Math.min((preference.waitSeconds ?? 0) * 1000, deps.syncHoldMs) : deps.syncHoldMs
    const view = await createAndAwait(request, reply, input, waitMs)
    if (isAsync) return answerAsync(reply, view, preference, waitMs)
    if (!view.isTerminal) throw new SyncWaitExceededError(view.job.id)
    return sendCompletion(reply, view)
  })

  async function createAndAwait(
    request: FastifyRequest,
    reply: FastifyReply,
    input: JobInput,
    waitMs: number,
  ): Promise<JobView> {
    // The watch stands before the job exists: a fast one could end before anybody listened.
    let watch = settled.watch(input.id)
    const hold = holds.hold(reply)
    try {
      const { kind, id } = await acceptJob(jobs, input)
      void reply.header('x-job-id', id)
      if (kind === 'replayed') {
        void reply.header('idempotent-replayed', 'true')
        watch.close()
        watch = settled.watch(id)
      }
      const isFresh = kind === 'created' && waitMs > 0
      const wait = { tenant: request.tenant, id, watch, waitMs, signal: hold.signal, isFresh }
      const view = await awaitOwnJob(jobs, wait)
      if (!view) throw missingJob(deps.ids, request.tenant, id)
      return view
    } finally {
      watch.close()
      hold.release()
    }
  }
}

function answerAsync(
  reply: FastifyReply,
  view: JobView,
  preference: Preference,
  waitMs: number,
): FastifyReply {
  const wait = preference.waitSeconds === null ? [] : [`wait=${Math.floor(waitMs / 1000)}`]
  if (view.isTerminal && wait.length > 0) {
    void reply.header('preference-applied', wait.join(', '))
    return sendCompletion(reply, view)
  }
  const asynchronous = preference.respondAsync ? ['respond-async'] : []
  void reply.header('preference-applied', [...asynchronous, ...wait].join(', '))
  return sendAccepted(reply, view.job)
}
