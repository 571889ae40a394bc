import type { Redis } from 'ioredis'
import type { Ids } from './ids.ts'
import type { Keys } from './keys.ts'
import type { DisabledReason, EventType } from './schemas/webhook.ts'
import type { Sealer } from './seal.ts'

/** At most so many endpoints a tenant: each end of a job looks at all of them. */
export const ENDPOINTS_MAX = 100

/** A webhook endpoint as its tenant may see it. Times in Unix milliseconds. */
export type EndpointView = {
  id: string
  tenant: string
  name: string
  url: string
  eventTypes: EventType[]
  /** Null: whatever customer an event is about. */
  customer: string | null
  metadata: Record<string, string>
  headerNames: string[]
  secretHint: string
  createdMs: number
  updatedMs: number
  disabledMs: number | null
  disabledReason: DisabledReason | null
}

/** What its tenant decides of an endpoint. */
export type EndpointSettings = {
  name: string
  url: string
  eventTypes: EventType[]
  customer: string | null
  metadata: Record<string, string>
  headers: Record<string, string>
  isEnabled: boolean
}

/** Where a delivery to an endpoint goes at this moment, and what signs it: the newest secret first. */
export type EndpointHook = { url: string; secrets: string[]; headers: Record<string, string> }

/** What an event asks for among a tenant's endpoints. */
export type EventAddress = {
  tenant: string
  type: EventType
  customer: string | null
  /** Only these of them, if they want it; undefined: all that do. */
  named?: readonly string[] | undefined
}

/** The record store of webhook endpoints: URL, secrets and headers are sealed. A tenant's are reached by tenant and id. */
export function createWebhookEndpoints(deps: { redis: Redis; keys: Keys; sealer: Sealer; ids: Ids }) {
  /** Ids of the enabled endpoints that want to be told of an event. */
  async function wanting(address: EventAddress): Promise<string[]> {
    throw new Error(`${address.tenant} ${typeof deps}`)
  }

  /** What a delivery is sent with, read anew for each try: changes and rotations hold at once. */
  async function hook(
    tenant: string,
    id: string,
  ): Promise<({ kind: 'open' } & EndpointHook) | { kind: 'disabled' | 'gone' }> {
    throw new Error(`${tenant} ${id}`)
  }

  /** Nothing is sent to it from now on; its tenant's other endpoints are told. Done again it changes nothing. */
  async function disable(id: string, reason: Exclude<DisabledReason, 'manual'>): Promise<void> {
    throw new Error(`${id} ${reason}`)
  }

  return { wanting, hook, disable }
}

export type WebhookEndpoints = ReturnType<typeof createWebhookEndpoints>
