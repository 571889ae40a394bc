import type { Deployment } from '../settings/deployments.ts'
import { endpointNamed, type EndpointName } from '../jobs/endpoints.ts'
import { InvalidRequestError } from '../errors.ts'
import { isMocked } from '../settings/mock-switches.ts'
import { invalid } from '../settings/notes.ts'
import { findProvider } from '../settings/provider-catalog.ts'
import type { RequestSettings } from '../settings/request-settings.ts'
import type { ActiveRouter } from '../settings/router-settings.ts'

/** What a request's endpoint, tags and region let through. */
export type Filter = {
  /** Those of a group that may be called. */
  choose: <Member extends { entry: Deployment }>(members: readonly Member[]) => Member[]
  /** What to say when they leave none of them. */
  refusal: (members: readonly { entry: Deployment }[]) => InvalidRequestError
}

/**
 * The filter of one request under one config. Who can't answer at its endpoint is left out. Regions always hold: where data
 * may go is not a matter of settings. Tags do where the config says so (`enable_tag_filtering`).
 */
export function createFilter(
  router: ActiveRouter,
  { tags, region }: RequestSettings,
  endpoint: EndpointName = 'chat',
): Filter {
  const canServe = ({ entry }: { entry: Deployment }) => isServed(entry, endpoint)
  const inRegion = ({ entry }: { entry: Deployment }) => region === null || isWithin(entry.region, region)

  return {
    choose(members) {
      const able = members.filter(canServe)
      const reachable = region === null ? able : able.filter(inRegion)
      return router.filtersTags ? byTags(reachable, tags) : reachable
    },
    refusal(members) {
      if (!members.some(canServe)) return unservedEndpoint(members, endpoint)
      if (!members.filter(canServe).some(inRegion)) {
        return invalid(
          'allowed_model_region',
          'leaves no deployment of this model: none is known to be there.',
        )
      }
      const text = '`tags` leaves no deployment of this model: none has these tags, nor the tag "default".'
      return new InvalidRequestError(text, 'tags', 'no_deployment_for_tags')
    },
  }
}

/** A canned answer needs no provider; what to say of one that is not served at all is said elsewhere. */
function isServed({ bundle }: Deployment, endpoint: EndpointName): boolean {
  const provider = findProvider(bundle.provider)
  if (!provider || provider.family === 'unserved' || isMocked(bundle)) return true
  return provider.endpoints.includes(endpoint)
}

function unservedEndpoint(
  members: readonly { entry: Deployment }[],
  endpoint: EndpointName,
): InvalidRequestError {
  const providers = new Set(members.map(({ entry }) => entry.bundle.provider))
  const served = [...providers].map((name) => {
    const paths = findProvider(name)?.endpoints.map((one) => endpointNamed(one).path) ?? []
    return `provider "${name}" serves ${paths.join(', ')}`
  })
  const what = `can't be asked at ${endpointNamed(endpoint).path}: ${served.join('; ')}.`
  return new InvalidRequestError(`\`model\` ${what}`, 'model', 'unsupported_endpoint')
}

/** `eu` holds `eu-west-1` and `europe-west1`; a region that is not known is nowhere. */
function isWithin(region: string | null, allowed: string): boolean {
  return region !== null && region.toLowerCase().startsWith(allowed.toLowerCase())
}

/** LiteLLM's rule: any tag in common, `&tag` required, `!tag` excluded; else those tagged `default`. */
function byTags<Member extends { entry: Deployment }>(
  members: readonly Member[],
  tags: readonly string[],
): Member[] {
  const [excluded, required] = [strip(tags, '!'), strip(tags, '&')]
  const wanted = tags.filter((tag) => !tag.startsWith('!') && !tag.startsWith('&'))
  const open = members.filter(({ entry }) => !excluded.some((tag) => entry.tags.includes(tag)))
  const defaults = open.filter(({ entry }) => entry.tags.includes('default'))
  if (wanted.length === 0 && required.length === 0) return defaults.length > 0 ? defaults : open
  const matching = open.filter(
    ({ entry }) =>
      required.every((tag) => entry.tags.includes(tag)) &&
      (wanted.length === 0 || wanted.some((tag) => entry.tags.includes(tag))),
  )
  return matching.length > 0 ? matching : defaults
}

function strip(tags: readonly string[], sign: string): string[] {
  return tags.filter((tag) => tag.startsWith(sign)).map((tag) => tag.slice(sign.length))
}
