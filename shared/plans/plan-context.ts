import type { Trust } from '../settings/connection.ts'
import type { EndpointName } from '../jobs/endpoints.ts'
import type { Ids } from '../ids.ts'
import type { Notes } from '../settings/notes.ts'
import type { OperatorConfig } from '../settings/operator-config.ts'
import type { PlanCache } from './plan-cache.ts'
import type { Filter } from './deployment-filters.ts'
import type { RequestFallbacks } from './request-fallbacks.ts'
import type { RequestSettings, SplitRequest } from '../settings/request-settings.ts'
import type { ActiveRouter } from '../settings/router-settings.ts'

/** One request on its way to a plan; or one of its fallbacks, looked at as a request. */
export type PlanContext = {
  model: string
  /** What the body is a request of. */
  endpoint: EndpointName
  split: SplitRequest
  settings: RequestSettings
  fallbacks: RequestFallbacks
  /** What the request's tags and regions let through, under a config's settings. */
  filterOf: (router: ActiveRouter) => Filter
  notes: Notes
  tenant: string
  customer: string | null
  /** Whose deployments a client's are: an opaque HMAC of tenant and customer. */
  ownerId: () => string
  trust: Trust
  operator: OperatorConfig
  ids: Ids
  cache: PlanCache | null
}
