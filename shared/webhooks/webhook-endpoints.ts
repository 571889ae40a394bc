import { isDeepStrictEqual } from 'node:util'
import type { Redis } from 'ioredis'
import {
  ENDPOINT_FIELDS,
  endpointFields,
  liveSecrets,
  parseEndpoint,
  rotated,
  type EndpointRecord,
  type EndpointSettings,
  type StoredEndpoint,
} from './webhook-endpoint-record.ts'
import type { Admitter } from '../capacity.ts'
import { ConflictError, InvalidRequestError, SealError } from '../errors.ts'
import type { Ids } from '../ids.ts'
import type { Keys } from '../keys.ts'
import { redisNowMs } from '../redis.ts'
import type { DisabledReason, EventType } from '../schemas/webhook.ts'
import { createScript } from '../scripts.ts'
import type { Sealer } from '../seal.ts'
import { newWebhookSecret } from './signature.ts'

/** At most so many endpoints a tenant: each end of a job looks at all of them. */
export const ENDPOINTS_MAX = 100

// Two who change one endpoint at once are rare, a hundred are a mistake.
const WRITES_MAX = 20

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

/** What an endpoint is to those who name it. */
export type EndpointStanding =
  | { kind: 'unknown' }
  | { kind: 'disabled' }
  /** Null: whatever customer an event is about. */
  | { kind: 'open'; customer: string | null }

export type EndpointPage = { endpoints: EndpointRecord[]; hasMore: boolean }

/**
 * The record store of webhook endpoints: URL, secrets and headers are sealed. A tenant's are reached by tenant and id. Whoever
 * changes one writes over the state that he has read, or reads again.
 */
export function createWebhookEndpoints(deps: {
  redis: Redis
  keys: Keys
  sealer: Sealer
  ids: Ids
  /** Asked before a new one is stored; workers make none. */
  capacity?: Admitter
}) {
  const { redis, keys, sealer, ids, capacity } = deps
  const writeEndpoint = createScript(redis, 'write-webhook-endpoint')
  const deleteEndpoint = createScript(redis, 'delete-webhook-endpoint')
  const disableEndpoint = createScript(redis, 'disable-webhook-endpoint')

  async function write(
    record: EndpointRecord,
    revision: string,
    { beginsAnew = false } = {},
  ): Promise<'written' | 'full' | 'stale'> {
    const { id, tenant, createdMs } = record
    const reply = await writeEndpoint(
      [keys.endpoint(id), keys.endpointIndex(tenant), keys.target(id), keys.targetsDue],
      [id, revision, ENDPOINTS_MAX, createdMs, beginsAnew ? 1 : 0, ...endpointFields(record, sealer)],
    )
    return String(reply) as 'written' | 'full' | 'stale' // see the script
  }

  /**
   * @throws {ConflictError} when the tenant has as many as it may have.
   * @throws {StorageFullError} when Redis has no room for it.
   */
  async function create(
    tenant: string,
    settings: EndpointSettings & { isEnabled: boolean },
  ): Promise<EndpointRecord> {
    const { isEnabled, ...rest } = settings
    capacity?.check()
    const nowMs = await redisNowMs(redis)
    const record: EndpointRecord = {
      ...rest,
      id: ids.newWebhookEndpointId(tenant, nowMs),
      tenant,
      secrets: [{ secret: newWebhookSecret(), untilMs: null }],
      createdMs: nowMs,
      updatedMs: nowMs,
      disabled: isEnabled ? null : { atMs: nowMs, reason: 'manual' },
    }
    if ((await write(record, '')) === 'full') {
      const message = `There are ${ENDPOINTS_MAX} webhook endpoints already, and there can be no more. Delete one, or let one endpoint take more event types.`
      throw new ConflictError(message, 'too_many_webhook_endpoints')
    }
    return record
  }

  async function readCurrent(tenant: string, id: string, opener: Sealer | null = sealer) {
    // Only our own ids are made into keys.
    if (!ids.isOwnWebhookEndpointId(tenant, id)) return null
    const record = parseEndpoint(id, await redis.hmgetBuffer(keys.endpoint(id), ...ENDPOINT_FIELDS), opener)
    return record?.tenant === tenant ? record : null
  }

  // One that does not open must not hide all the others of a list.
  async function readListed(tenant: string, id: string) {
    try {
      return await readCurrent(tenant, id)
    } catch (error) {
      if (!(error instanceof SealError)) throw error
      return readCurrent(tenant, id, null)
    }
  }

  async function read(tenant: string, id: string): Promise<EndpointRecord | null> {
    const stored = await readCurrent(tenant, id)
    return stored && recordOf(stored)
  }

  /** A page of a tenant's endpoints, newest first. @returns null when `after` names none of them. */
  async function list(
    tenant: string,
    { after, limit }: { after?: string | undefined; limit: number },
  ): Promise<EndpointPage | null> {
    const index = keys.endpointIndex(tenant)
    const rank = after === undefined ? -1 : await redis.zrevrank(index, after)
    if (rank === null) return null
    const found = await redis.zrevrange(index, rank + 1, rank + 1 + limit)
    const records = await Promise.all(found.slice(0, limit).map((id) => readListed(tenant, id)))
    const endpoints = records.flatMap((stored) => (stored ? [recordOf(stored)] : []))
    return { endpoints, hasMore: found.length > limit }
  }

  /** Applies a change to what is there, again while others come first. Without a difference nothing is written. */
  async function change(
    tenant: string,
    id: string,
    apply: (record: EndpointRecord, nowMs: number) => EndpointRecord,
  ): Promise<EndpointRecord | null> {
    for (let count = 0; count < WRITES_MAX; count += 1) {
      const [current, nowMs] = await Promise.all([readCurrent(tenant, id), redisNowMs(redis)])
      if (!current) return null
      const record = recordOf(current)
      const changed = apply(record, nowMs)
      if (isDeepStrictEqual(changed, record)) return record
      const next = { ...changed, updatedMs: nowMs }
      const beginsAnew = (record.disabled === null) !== (next.disabled === null) || record.url !== next.url
      if ((await write(next, current.revision, { beginsAnew })) === 'written') return next
    }
    throw new ConflictError('Others changed this webhook endpoint at the same time. Try again.', 'conflict')
  }

  /**
   * Changes what is given. One that is enabled again, or is somewhere else now, begins anew: what was known of its failures is
   * forgotten, and what waits for it is looked at.
   * @throws {InvalidRequestError} for another host without a word of the headers that are sent along.
   */
  async function update(
    tenant: string,
    id: string,
    { isEnabled, ...settings }: Partial<EndpointSettings & { isEnabled: boolean }>,
  ): Promise<EndpointRecord | null> {
    return change(tenant, id, (record, nowMs) => {
      requireHeaders(record, settings)
      return { ...record, ...settings, disabled: disabledAfter(record, isEnabled, nowMs) }
    })
  }

  /** Makes a new secret; those of before sign along for `overlapMs`. */
  async function rotate(tenant: string, id: string, overlapMs: number): Promise<EndpointRecord | null> {
    const secret = newWebhookSecret()
    return change(tenant, id, (record, nowMs) => ({
      ...record,
      secrets: rotated(record.secrets, secret, nowMs, overlapMs),
    }))
  }

  async function remove(tenant: string, id: string): Promise<boolean> {
    if (!ids.isOwnWebhookEndpointId(tenant, id)) return false
    const reply = await deleteEndpoint(
      [keys.endpoint(id), keys.endpointIndex(tenant), keys.target(id), keys.targetsDue],
      [id, tenant],
    )
    return reply === 1
  }

  /** What each of these is to a tenant's job that names it. */
  async function standings(tenant: string, named: readonly string[]): Promise<EndpointStanding[]> {
    return Promise.all(
      named.map(async (id): Promise<EndpointStanding> => {
        const facts = ids.isOwnWebhookEndpointId(tenant, id) ? await factsOf(id) : null
        if (facts?.tenant !== tenant) return { kind: 'unknown' }
        return facts.isEnabled ? { kind: 'open', customer: facts.customer } : { kind: 'disabled' }
      }),
    )
  }

  async function factsOf(id: string) {
    const fields = await redis.hmget(keys.endpoint(id), 'tenant', 'events', 'customer', 'disabled')
    const [tenant, events, customer, disabled] = fields
    return {
      id,
      tenant: tenant ?? null,
      eventTypes: JSON.parse(events ?? '[]') as string[], // as it was written
      customer: customer ? customer : null,
      isEnabled: disabled === '',
    }
  }

  /** Ids of the enabled endpoints that want to be told of an event, oldest first. */
  async function wanting({ tenant, type, customer, named }: EventAddress): Promise<string[]> {
    const all = await redis.zrange(keys.endpointIndex(tenant), '0', '-1')
    const asked = named ? all.filter((id) => named.includes(id)) : all
    const facts = await Promise.all(asked.map(factsOf))
    return facts
      .filter((one) => one.isEnabled && one.eventTypes.includes(type))
      .filter((one) => one.customer === null || one.customer === customer)
      .map(({ id }) => id)
  }

  /** What a delivery is sent with, read anew for each try: changes and rotations hold at once. */
  async function hook(
    tenant: string,
    id: string,
  ): Promise<({ kind: 'open' } & EndpointHook) | { kind: 'disabled' | 'gone' }> {
    const [record, nowMs] = await Promise.all([readCurrent(tenant, id), redisNowMs(redis)])
    if (!record) return { kind: 'gone' }
    if (record.disabled) return { kind: 'disabled' }
    // It may be kept for years: by then the key that it was sealed with is gone.
    if (!record.isSealedAnew) await write(recordOf(record), record.revision)
    const { url, headers } = record
    return { kind: 'open', url, headers, secrets: liveSecrets(record.secrets, nowMs) }
  }

  /**
   * Nothing is sent to it from now on; its tenant's other endpoints are told. Done again it changes nothing.
   * @returns whether it was this call that did it.
   */
  async function disable(id: string, reason: Exclude<DisabledReason, 'manual'>): Promise<boolean> {
    return (await disableEndpoint([keys.endpoint(id), keys.announce], ['', id, reason])) === 1
  }

  return { create, read, list, update, rotate, remove, standings, wanting, hook, disable }
}

export type WebhookEndpoints = ReturnType<typeof createWebhookEndpoints>

function recordOf(stored: StoredEndpoint): EndpointRecord {
  const { revision: _, isSealedAnew: __, ...record } = stored
  return record
}

// Their values are secrets as likely as not, and nobody can read them: an update must not send them to whoever it names.
function requireHeaders({ url, headers }: EndpointRecord, given: Partial<EndpointSettings>): void {
  if (given.url === undefined || given.headers !== undefined || Object.keys(headers).length === 0) return
  if (new URL(given.url).origin === new URL(url).origin) return
  const message =
    'The `headers` of this endpoint were given for another host. Give those for the new one with its `url`, or null for none.'
  throw new InvalidRequestError(message, 'headers', 'headers_required')
}

function disabledAfter(
  { disabled }: EndpointRecord,
  isEnabled: boolean | undefined,
  nowMs: number,
): EndpointRecord['disabled'] {
  if (isEnabled === undefined) return disabled
  return isEnabled ? null : (disabled ?? { atMs: nowMs, reason: 'manual' })
}
