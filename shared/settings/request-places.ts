import { concreteBundle } from './deployments.ts'
import type { OperatorConfig } from './operator-config.ts'
import { namesOf } from './provider-auth.ts'
import { allProviders, findProvider, resolveModel, type ProviderEntry } from './provider-catalog.ts'
import type { SplitRequest } from './request-settings.ts'
import { LOCATION_FIELDS } from '../schemas/field-names.ts'

/**
 * A request whose regions, projects and accounts stand among its credentials, where they decide how its model is called:
 * beside the operator's key they are overrides that he has to open. For every other provider they are parameters of the body
 * like any that the gateway does not know, and stay there.
 */
export function takePlaces(split: SplitRequest, model: string, operator: OperatorConfig): SplitRequest {
  const given = LOCATION_FIELDS.filter((name) => split.body[name] !== undefined && split.body[name] !== null)
  if (given.length === 0) return split
  const providers = [...listedProviders(model, operator), ...ownProviders(split, model)]
  const places = new Set(providers.flatMap((provider) => provider.places.flatMap(namesOf)))
  const taken = given.filter((name) => places.has(name))
  if (taken.length === 0) return split
  const body = { ...split.body }
  const credentials = { ...split.credentials }
  for (const name of taken) {
    credentials[name] = body[name]
    delete body[name]
  }
  return { ...split, body, credentials }
}

/** Of the operator's models under this name. */
function listedProviders(model: string, { names }: OperatorConfig): ProviderEntry[] {
  const members = names.find(model)?.members ?? []
  return members.flatMap(({ entry, writtenModel }) => {
    const bundle = concreteBundle(entry, writtenModel)
    return (bundle && findProvider(bundle.provider)) ?? []
  })
}

/** Of the model itself where the request brings credentials, and those that alone have a use for these. */
function ownProviders({ credentials, gateway }: SplitRequest, model: string): ProviderEntry[] {
  const names = Object.keys(credentials)
  if (names.length === 0) return []
  const custom = gateway['custom_llm_provider']
  const customProvider = typeof custom === 'string' ? custom : undefined
  const resolved = resolveModel(model, { customProvider, apiVersion: credentials['api_version'] })
  const users = allProviders().filter(({ authFields }) =>
    authFields.flatMap(namesOf).some((name) => names.includes(name)),
  )
  return resolved.kind === 'resolved' ? [resolved.provider, ...users] : users
}
