import type { Redis } from 'ioredis'
import type { Keys } from '../keys.ts'
import { newestFirst } from '../newest-first.ts'
import { jobIdOfResponse } from '../jobs/response-ids.ts'
import { Event, type EventType } from '../schemas/webhook.ts'
import type { ScriptArgument } from '../scripts.ts'
import type { SealPlace, Sealer } from '../seal.ts'

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

export type EventFilter = {
  after?: string | undefined
  limit: number
  type?: string | undefined
  /** Id of the job, response, batch or endpoint. */
  subject?: string | undefined
}

/** `goOnFrom`: the event looked at last when the search was cut off, which the next page starts from; else null. */
export type EventPage = { events: Event[]; hasMore: boolean; goOnFrom: string | null }

const TRIMMED_MAX = 5_000

/** The archive of what was told. A tenant's events are reached by tenant and id. */
export function createEvents({ redis, keys, sealer }: { redis: Redis; keys: Keys; sealer: Sealer }) {
  async function read(tenant: string, id: string): Promise<Event | null> {
    // Only what can be an id of ours is made into a key.
    if (!/^evt_[A-Za-z0-9]{22}$/.test(id)) return null
    const [owner, body] = await redis.hmgetBuffer(keys.event(id), 'tenant', 'body')
    if (owner?.toString() !== tenant || !body) return null
    return Event.parse(JSON.parse(openEvent(tenant, id, body, sealer)))
  }

  /** A page of a tenant's events, newest first. @returns null when `after` names none of them. */
  async function list(tenant: string, filter: EventFilter): Promise<EventPage | null> {
    const page = await newestFirst(redis, keys.eventIndex(tenant), filter, (ids) => matching(ids, filter))
    if (!page) return null
    const events = await Promise.all(page.ids.map((id) => read(tenant, id)))
    return {
      events: events.flatMap((event) => event ?? []),
      hasMore: page.hasMore,
      goOnFrom: page.goOnFrom,
    }
  }

  async function matching(ids: readonly string[], { type, subject }: EventFilter): Promise<string[]> {
    const about = subject && jobIdOfResponse(subject)
    const facts = await Promise.all(ids.map((id) => redis.hmget(keys.event(id), 'type', 'subject')))
    return ids.filter((_, position) => {
      const [itsType, itsSubject] = facts[position] ?? []
      // One whose time is over is in the index until something new comes.
      return Boolean(itsType) && (type ?? itsType) === itsType && (about ?? itsSubject) === itsSubject
    })
  }

  /** Forgets those of a tenant's events that are older, at most some thousands at once. @returns how many. */
  async function trim(tenant: string, beforeMs: number): Promise<number> {
    const index = keys.eventIndex(tenant)
    const ids = await redis.zrange(index, '-inf', `(${beforeMs}`, 'BYSCORE', 'LIMIT', 0, TRIMMED_MAX)
    if (ids.length === 0) return 0
    // The index last: whoever dies in between finds them there again.
    await redis.unlink(...ids.map((id) => keys.event(id)))
    await redis.zrem(index, ...ids)
    return ids.length
  }

  return { read, list, trim }
}

export type Events = ReturnType<typeof createEvents>

function place(tenant: string, id: string): SealPlace {
  return { tenant, kind: 'event', id, field: 'body' }
}
