import type { CredentialGroup } from './credential-group.ts'
import {
  credentialGroup,
  groupOfOne,
  isCatchAll,
  readGiven,
  resolve,
  mockedByWorker,
} from './credential-group.ts'
import { OPERATOR } from '../settings/deployments.ts'
import { DEPLOYMENTS_MAX } from '../schemas/user-config.ts'
import { invalid } from '../settings/notes.ts'
import { assemblePlan } from './plan-assembly.ts'
import type { MadePlan } from './plan-cache.ts'
import type { PlanContext } from './plan-context.ts'
import type { Group } from './plan-groups.ts'
import { createHops, refuseHeaders } from './plan-hops.ts'
import { namesGiven, planTables } from './plan-tables.ts'
import { mockOf, refuseMocks } from '../settings/mock-switches.ts'
import type { ActiveRouter } from '../settings/router-settings.ts'
import { readRouter } from '../settings/router-settings.ts'

/** What a name among a request's fallbacks comes to, or why it can't be one. */
type Named = { kind: 'group'; group: Group } | { kind: 'refused'; what: string }

/**
 * The plan of a request that brings its own credentials: on the operator's deployment where that opts in, else one
 * deployment made of the request alone. No other group of the operator's is ever in it: its fallbacks are names that the
 * request's own key is good for, and objects.
 * @throws {InvalidRequestError} with the credential's field as `param`.
 */
export function planOfCredentials(context: PlanContext): MadePlan {
  const { settings, fallbacks, ids } = context
  const start = credentialGroup(context)
  start.requireLeft()
  const router = routerOf(context, start.group)
  const look = (model: string) => find({ ...context, model }, start, context.model)
  for (const { from, to, path } of namesGiven(fallbacks)) {
    for (const name of from === '*' ? to : [from, ...to]) {
      const found = look(name)
      if (found.kind === 'refused') throw invalid(path, `names "${name.slice(0, 64)}", which ${found.what}`)
    }
  }
  const hopOf = createHops(context, {
    named: (asked) => namedHop(asked, look),
    withCredentials: (asked) => keyedHop(asked, start.group),
  })
  return assemblePlan(
    {
      source: 'client_credentials',
      start: { ...start.group, keys: [context.model, start.group.name] },
      find: (name) => {
        const found = look(name)
        return found.kind === 'group' ? found.group : null
      },
      tables: planTables(router, fallbacks, settings.disableFallbacks, hopOf),
      router,
      settings,
      deploymentsMax: Math.max(DEPLOYMENTS_MAX, start.group.members().length),
    },
    ids,
  )
}

/** On the operator's own key his settings hold, as for any request; where they lead to is not for this one. */
function routerOf({ operator, notes }: PlanContext, { ownerId }: Group): ActiveRouter {
  if (ownerId !== OPERATOR) return readRouter({}, '', notes)
  return { ...operator.router, fallbacks: [], contextWindowFallbacks: null, contentPolicyFallbacks: null }
}

/**
 * A name beside a request's own key: what the request itself asks for, or another model at the same provider and base,
 * called with the same key. A key goes nowhere else, and no name leads to the operator's list.
 */
function find(asked: PlanContext, { group, alone }: CredentialGroup, startName: string): Named {
  if (asked.model === startName || asked.model === group.name) {
    return { kind: 'group', group: { ...group, keys: [asked.model] } }
  }
  const advice = 'Give an object with its own `api_key` instead: {"model": ..., "api_key": ...}.'
  if (alone === null) {
    return { kind: 'refused', what: `is not the operator's model that your credentials are for. ${advice}` }
  }
  const match = asked.operator.names.find(asked.model)
  if (match && !isCatchAll(match)) {
    return { kind: 'refused', what: `is a model of the operator, where your key does not go. ${advice}` }
  }
  const resolved = resolve(asked, readGiven(asked))
  if (resolved.kind === 'unresolved') return { kind: 'refused', what: resolved.reason }
  if (resolved.provider.name !== alone.provider) {
    const what = `is of provider "${resolved.provider.name}", and your key is for "${alone.provider}". ${advice}`
    return { kind: 'refused', what }
  }
  const sibling = groupOfOne(asked, { ...alone, model: resolved.model })
  return { kind: 'group', group: { ...sibling, keys: [asked.model] } }
}

/** An object with credentials of its own: an organization alone, say, is no key, and would be called with the operator's. */
function keyedHop(asked: PlanContext, start: Group): Group {
  const { group } = credentialGroup(asked)
  if (group.ownerId !== OPERATOR || start.ownerId === OPERATOR) return group
  throw invalid(
    'api_key',
    "is needed: beside a key of the request's own nothing is called with the operator's.",
  )
}

/** An object without credentials has those of the request, and what else it says is for the same deployments. */
function namedHop(asked: PlanContext, look: (name: string) => Named): Group {
  refuseHeaders(asked.split.gateway, 'needs an `api_key` beside it, in the same object.')
  const found = look(asked.model)
  if (found.kind === 'refused') throw invalid('model', found.what)
  const mock = mockOf(asked.split.gateway)
  if (mock === null) return found.group
  const members = found.group.members().map((member) => {
    if (member.isCompletedByOperator) {
      refuseMocks(asked.split.gateway, asked.operator.generalSettings.allowMockTesting)
      return { ...member, ...mockedByWorker(member, mock) }
    }
    const own = { ...member.own, ...mock }
    return { ...member, own, identity: own }
  })
  return { ...found.group, members: () => members }
}
