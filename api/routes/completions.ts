import type { FastifyInstance, FastifyReply } from 'fastify'
import type { ZodTypeProvider } from 'fastify-type-provider-zod'
import { SyncWaitExceededError } from '../../shared/errors.ts'
import type { JobInput, Jobs, JobView } from '../../shared/jobs.ts'
import { ChatCompletion, ChatCompletionRequest } from '../../shared/schemas/completion.ts'
import { ErrorResponse } from '../../shared/schemas/error.ts'
import { Job } from '../../shared/schemas/job.ts'
import type { SettledListener } from '../../shared/settled.ts'
import { acceptAndSend, acceptJob } from '../acceptance.ts'
import type { Holds } from '../holds.ts'
import { missingJob, sendAccepted, sendCompletion } from '../job-replies.ts'
import { parsePrefer, type Preference } from '../prefer.ts'
import { CHAT_COMPLETIONS, prepareJob, type SubmissionDeps } from '../submission.ts'
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
    if (!isAsync) {
      const view = await createAndAwait(reply, input, deps.syncHoldMs)
      if (!view.isTerminal) throw new SyncWaitExceededError(view.job.id)
      return sendCompletion(reply, view)
    }
    const waitMs = Math.min((preference.waitSeconds ?? 0) * 1000, deps.syncHoldMs)
    void reply.header('preference-applied', formatPreference(preference, waitMs))
    if (waitMs === 0) return acceptAndSend(reply, input, deps)
    const view = await createAndAwait(reply, input, waitMs)
    if (!view.isTerminal) return sendAccepted(reply, view.job)
    void reply.header('preference-applied', formatPreference({ ...preference, respondAsync: false }, waitMs))
    return sendCompletion(reply, view)
  })

  async function createAndAwait(reply: FastifyReply, input: JobInput, waitMs: number): Promise<JobView> {
    const { tenant } = input
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
      const isFresh = kind === 'created'
      const wait = { tenant, id, watch, waitMs, signal: hold.signal, isFresh }
      const view = await awaitOwnJob(jobs, wait)
      if (!view) throw missingJob(deps.ids, tenant, id)
      return view
    } finally {
      watch.close()
      hold.release()
    }
  }
}

/** What was applied, for `Preference-Applied`. */
function formatPreference({ respondAsync, waitSeconds }: Preference, waitMs: number): string {
  const asynchronous = respondAsync ? ['respond-async'] : []
  const wait = waitSeconds === null ? [] : [`wait=${Math.floor(waitMs / 1000)}`]
  return [...asynchronous, ...wait].join(', ')
}
