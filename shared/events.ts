import type { Redis } from 'ioredis'
import type { Keys } from './keys.ts'
import { Event, type EventType } from './schemas/webhook.ts'
import type { ScriptArgument } from './scripts.ts'
import type { SealPlace, Sealer } from './seal.ts'

/** What happened, as it is told and kept. */
export type NewEvent = {
  /** The same however often the same thing is announced. */
  id: string
  tenant: string
  type: EventType
  /** The job, batch or endpoint that it is about. */
  subjectId: string
  /** The exact text that is sent, and signed, on every try: OpenAI's envelope without any result. */
  body: string
}

/** Fields of `keys.event(id)`, as field, value, ...; the script that writes them adds `created` and puts it into the index. */
export function eventFields(
  { id, tenant, type, subjectId, body }: NewEvent,
  sealer: Sealer,
): ScriptArgument[] {
  return ['tenant', tenant, 'type', type, 'subject', subjectId, 'body', sealer.seal(place(tenant, id), body)]
}

/** The text of an event, from field `body` of its record. @throws {SealError} when its key is not configured here. */
export function openEvent(tenant: string, id: string, sealed: Buffer, sealer: Sealer): string {
  return sealer.open(place(tenant, id), sealed).toString()
}

export type EventFilter = { after?: string; limit: number; type?: string; subject?: string }
export type EventPage = { events: Event[]; hasMore: boolean; goOnFrom: string | null }

/** The archive of what was told. A tenant's events are reached by tenant and id. */
export function createEvents({ redis, keys, sealer }: { redis: Redis; keys: Keys; sealer: Sealer }) {
  async function read(tenant: string, id: string): Promise<Event | null> {
    throw new Error(`${tenant} ${id} ${redis.status} ${keys.event(id)} ${typeof sealer}`)
  }

  /** A page of a tenant's events, newest first. @returns null when `after` names none of them. */
  async function list(tenant: string, filter: EventFilter): Promise<EventPage | null> {
    throw new Error(`${tenant} ${filter.limit}`)
  }

  /** Forgets a tenant's events that are older. @returns how many. */
  async function trim(tenant: string, beforeMs: number): Promise<number> {
    throw new Error(`${tenant} ${beforeMs}`)
  }

  return { read, list, trim }
}

export type Events = ReturnType<typeof createEvents>

function place(tenant: string, id: string): SealPlace {
  return { tenant, kind: 'event', id, field: 'body' }
}
