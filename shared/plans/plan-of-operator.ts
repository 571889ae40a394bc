import { BARE, withOperatorKey } from '../settings/clientside-auth.ts'
import { OPERATOR, concreteBundle } from '../settings/deployments.ts'
import { deploymentIds } from '../settings/deployment-ids.ts'
import { suggestion } from '../settings/did-you-mean.ts'
import { InvalidRequestError } from '../errors.ts'
import { requireKnownGroups } from './fallback-tables.ts'
import type { NameMatch } from '../settings/model-names.ts'
import { invalid } from '../settings/notes.ts'
import type { OperatorDeployment } from '../settings/operator-deployments.ts'
import { isCallable } from '../settings/operator-deployments.ts'
import { assemblePlan } from './plan-assembly.ts'
import type { PlanContext } from './plan-context.ts'
import type { Group } from './plan-groups.ts'
import { createGroups } from './plan-groups.ts'
import { createHops, refuseHeaders } from './plan-hops.ts'
import { namesGiven, planTables } from './plan-tables.ts'
import { credentialGroup, mockedByWorker } from './credential-group.ts'
import { findProvider, unservedReason } from '../settings/provider-catalog.ts'
import type { Mock } from '../settings/mock-switches.ts'
import { mockOf, refuseMocks } from '../settings/mock-switches.ts'
import type { CredentialBundle, Plan } from '../schemas/plan.ts'
import { DEPLOYMENTS_MAX } from '../schemas/user-config.ts'

/**
 * The plan of a request without credentials: the operator's models, called with his keys, which only workers have.
 * Bundles are null unless a fallback is an object, whose parameters and credentials go with the job.
 * @throws {InvalidRequestError}
 */
export function planOfOperator(context: PlanContext): { plan: Plan; bundles: CredentialBundle[] | null } {
  const { operator, settings, fallbacks, ids, filterOf } = context
  const { names } = operator
  const idOf = ({ bundle }: OperatorDeployment) => deploymentIds(bundle, OPERATOR, ids).id
  const groupsOf = (mock: Mock | null) =>
    createGroups<OperatorDeployment>({
      ownerId: OPERATOR,
      names,
      filter: filterOf(operator.router),
      bundleFor: (_entry, bundle) => {
        if (!isCallable(bundle)) return null
        const own = withOperatorKey(bundle, BARE)
        return mockedByWorker({ own, identity: bundle, isCompletedByOperator: true }, mock)
      },
    })

  function named(asked: PlanContext): Group {
    const { model, split } = asked
    refuseMocks(split.gateway, operator.generalSettings.allowMockTesting)
    refuseHeaders(
      split.gateway,
      "can't be set for a model of the operator. Send your own credentials with it.",
    )
    const match =
      settings.isSpecificDeployment && asked === context
        ? names.findModel(model)
        : (names.find(model) ?? names.findOwnId(model, idOf))
    if (!match) throw modelNotFound(context, model)
    requireAnyCallable(match)
    const groups = groupsOf(mockOf(split.gateway))
    return asked === context ? groups.start(match, model) : groups.of(match, model)
  }

  const start = named(context)
  const mock = mockOf(context.split.gateway)
  requireKnownGroups(namesGiven(fallbacks), operator.names)
  const hopOf = createHops(context, { named, withCredentials: (asked) => credentialGroup(asked).group })
  const { plan, bundles } = assemblePlan(
    {
      source: 'operator',
      start,
      find: groupsOf(mock).find,
      tables: planTables(operator.router, fallbacks, settings.disableFallbacks, hopOf),
      router: operator.router,
      settings,
      // His own list may be longer than a client's, and is its own bound.
      deploymentsMax: Math.max(DEPLOYMENTS_MAX, operator.deployments.length),
    },
    ids,
  )
  return { plan, bundles: plan.group_names || mock ? bundles : null }
}

/** A group that waits for clients' keys, or for its provider to be served, can't be called without them. */
function requireAnyCallable(start: NameMatch<OperatorDeployment>): void {
  const bundles = start.members.flatMap(
    ({ entry, writtenModel }) => concreteBundle(entry, writtenModel) ?? [],
  )
  if (bundles.length === 0 || bundles.some((bundle) => isCallable(bundle))) return
  const unserved = bundles
    .map((bundle) => findProvider(bundle.provider))
    .find((one) => one?.family === 'unserved')
  if (unserved) throw invalid('model', `needs ${unservedReason(unserved)}`)
  throw invalid('api_key', 'is needed: the operator has no key for this model. Send your own.')
}

/** 400, as a model that OpenAI does not know would be named by its `param`. */
export function modelNotFound({ operator }: PlanContext, model: string): InvalidRequestError {
  const advice = suggestion(model, operator.names.groupNames)
  const message = `No model "${model.slice(0, 64)}" is configured.${advice} Send your own credentials with the request (\`api_key\`, or \`user_config\`), or use a model of GET /v1/models.`
  return new InvalidRequestError(message, 'model', 'model_not_found')
}
