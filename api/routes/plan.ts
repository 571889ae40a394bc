import type { FastifyInstance } from 'fastify'
import type { ZodTypeProvider } from 'fastify-type-provider-zod'
import { z } from 'zod'
import { findEndpoint, readCompletion } from '../../shared/jobs/completion-body.ts'
import type { DeploymentState } from '../../shared/routing/deployment-state.ts'
import { endpointNamed } from '../../shared/jobs/endpoints.ts'
import { ignoredKeys } from '../../shared/settings/ignored-keys.ts'
import type { JobInput } from '../../shared/jobs/jobs.ts'
import type { OperatorConfig } from '../../shared/settings/operator-config.ts'
import { describePlan, readStandings } from '../../shared/plans/plan-view.ts'
import { ErrorResponse } from '../../shared/schemas/error.ts'
import { PlanView } from '../../shared/schemas/plan-view.ts'
import { parsePrefer } from '../prefer.ts'
import { prepareJob, type SubmissionDeps } from '../submission.ts'

const PlanQuery = z.object({ endpoint: z.string().default(endpointNamed('chat').path) })

export type PlanDeps = SubmissionDeps & { state: Pick<DeploymentState, 'read'> }

/** `POST /plan`: what a completion with this body would do. It is checked like one; nobody is called, nothing is stored. */
export function addPlanRoute(app: FastifyInstance, deps: PlanDeps): void {
  const schema = {
    summary: 'See what a completion would do',
    description:
      'Takes the body of any completion (of a chat completion unless `endpoint` names another, as `/v1/responses`) and answers with its plan: model groups, deployments, fallback order, caps, and how each deployment stands right now. No provider is called and nothing is stored. What the completion would be refused for is refused here with the same error.',
    tags: ['completions'],
    querystring: PlanQuery,
    body: z.looseObject({}),
    response: { 200: PlanView, '4xx': ErrorResponse, '5xx': ErrorResponse },
  }
  app.withTypeProvider<ZodTypeProvider>().post('/plan', { schema }, async (request, reply) => {
    const endpoint = findEndpoint(request.query.endpoint)
    const { job: options = {}, customer = null, ...body } = readCompletion(endpoint, request.body)
    const { respondAsync, waitSeconds } = parsePrefer(request.headers.prefer)
    const mode = respondAsync || waitSeconds !== null ? 'async' : 'sync'
    const input = await prepareJob(
      {
        request,
        mode,
        endpoint,
        path: endpoint.path,
        body,
        customer,
        options,
        bodyPath: '',
        optionsPath: 'job.',
      },
      deps,
    )
    const { plan } = input
    const standings = await readStandings(plan, deps.state.read)
    void reply.header('cache-control', 'no-store')
    const shown = {
      ...input,
      isStream: body['stream'] === true,
      ignored: ignoredKeys(request.body),
      isOnOperatorsList: isOnOperatorsList(input, deps.operator),
    }
    return describePlan(shown, standings)
  })
}

/** Whether the client's credentials stand on entries of the operator's list, and not on what the request alone says. */
function isOnOperatorsList({ plan, bundles, model }: JobInput, operator: OperatorConfig): boolean {
  if (plan.source !== 'client_credentials') return false
  const match = operator.names.find(model)
  if (match === null) return false
  // Such a match does not catch credentials that are complete: they have no base of the operator's then.
  const isCatchAll = match.how === 'model' || match.pattern === '*'
  return !isCatchAll || bundles?.some((bundle) => bundle.trusted_base) === true
}
