import type { Trust } from './connection.ts'
import type { Ids } from './ids.ts'
import type { Notes } from './notes.ts'
import type { OperatorConfig } from './operator-config.ts'
import type { PlanCache } from './plan-cache.ts'
import type { RequestSettings, SplitRequest } from './request-settings.ts'

/** One request on its way to a plan. */
export type PlanContext = {
  model: string
  split: SplitRequest
  settings: RequestSettings
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
