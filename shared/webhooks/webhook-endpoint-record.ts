import { z } from 'zod'
import type { DisabledReason, EventType } from '../schemas/webhook.ts'
import type { ScriptArgument } from '../scripts.ts'
import type { Sealer } from '../seal.ts'

/** More than one are live while an old one signs along; a verifier is not sent more signatures than that. */
const SECRETS_MAX = 10

/** A signing secret, with when it stops signing; null: it is the current one. Unix milliseconds. */
const EndpointSecret = z.object({ secret: z.string(), untilMs: z.number().nullable() })
export type EndpointSecret = z.infer<typeof EndpointSecret>

const Secrets = z.array(EndpointSecret)
const Headers = z.record(z.string(), z.string())

/** What its tenant decides of an endpoint. */
export type EndpointSettings = {
  name: string
  url: string
  eventTypes: EventType[]
  /** Null: whatever customer an event is about. */
  customer: string | null
  metadata: Record<string, string>
  headers: Record<string, string>
}

/** A webhook endpoint, with all its secrets. Times in Unix milliseconds. */
export type EndpointRecord = EndpointSettings & {
  id: string
  tenant: string
  /** Newest first. */
  secrets: EndpointSecret[]
  createdMs: number
  updatedMs: number
  /** Null: it is sent to. */
  disabled: { atMs: number; reason: DisabledReason } | null
}

/** An endpoint as it was read. */
export type StoredEndpoint = EndpointRecord & {
  revision: string
  /** With the key that seals now. All of a record is sealed at once. */
  isSealedAnew: boolean
}

/** Hash fields that a record is read from; of the last three the values are sealed. */
export const ENDPOINT_FIELDS = [
  'tenant', 'revision', 'name', 'events', 'customer', 'metadata', 'created', 'updated', 'disabled', 'reason', 'url', 'secrets',
  'headers',
] as const // oxfmt-ignore

/**
 * A record with the revision that it was read at, from `ENDPOINT_FIELDS`; null when there is none.
 * @param sealer Null: what is sealed is left out.
 * @throws {SealError}
 */
export function parseEndpoint(
  id: string,
  fields: readonly (Buffer | null)[],
  sealer: Sealer | null,
): StoredEndpoint | null {
  const bytes = (name: (typeof ENDPOINT_FIELDS)[number]) =>
    fields[ENDPOINT_FIELDS.indexOf(name)] ?? Buffer.alloc(0)
  const text = (name: (typeof ENDPOINT_FIELDS)[number]) => bytes(name).toString()
  const tenant = text('tenant')
  if (tenant === '') return null
  const sealed = sealer?.record({ tenant, kind: 'endpoint', id })
  const open = (name: 'url' | 'secrets' | 'headers', none: string) =>
    sealed?.open(name, bytes(name)).toString() ?? none
  return {
    id,
    tenant,
    revision: text('revision'),
    name: text('name'),
    // What is not sealed was written below, from values that the API had checked.
    eventTypes: JSON.parse(text('events')) as EventType[],
    customer: text('customer') === '' ? null : text('customer'),
    metadata: JSON.parse(text('metadata')) as Record<string, string>,
    createdMs: Number(text('created')),
    updatedMs: Number(text('updated')),
    disabled:
      text('disabled') === ''
        ? null
        : { atMs: Number(text('disabled')), reason: text('reason') as DisabledReason },
    url: open('url', ''),
    secrets: Secrets.parse(JSON.parse(open('secrets', '[]'))),
    headers: Headers.parse(JSON.parse(open('headers', '{}'))),
    isSealedAnew: sealer?.isCurrent(bytes('url')) === true,
  }
}

/** A record as field, value, ... */
export function endpointFields(record: EndpointRecord, sealer: Sealer): ScriptArgument[] {
  const { id, tenant, disabled } = record
  const sealed = sealer.record({ tenant, kind: 'endpoint', id })
  return [
    'tenant', tenant, 'name', record.name, 'events', JSON.stringify(record.eventTypes), 'customer', record.customer ?? '',
    'metadata', JSON.stringify(record.metadata), 'created', record.createdMs, 'updated', record.updatedMs,
    'disabled', disabled?.atMs ?? '', 'reason', disabled?.reason ?? '', 'url', sealed.seal('url', record.url),
    'secrets', sealed.seal('secrets', JSON.stringify(record.secrets)),
    'headers', sealed.seal('headers', JSON.stringify(record.headers)),
  ] // oxfmt-ignore
}

/** Secrets after a rotation: those of before sign along for a while, none of them longer than it was to. */
export function rotated(
  secrets: readonly EndpointSecret[],
  secret: string,
  nowMs: number,
  overlapMs: number,
): EndpointSecret[] {
  const endMs = nowMs + overlapMs
  const old = secrets.map((one) => ({ ...one, untilMs: Math.min(one.untilMs ?? endMs, endMs) }))
  return [{ secret, untilMs: null }, ...old.filter(({ untilMs }) => untilMs > nowMs)].slice(0, SECRETS_MAX)
}

/** Those that sign now, newest first. */
export function liveSecrets(secrets: readonly EndpointSecret[], nowMs: number): string[] {
  return secrets.filter(({ untilMs }) => untilMs === null || untilMs > nowMs).map(({ secret }) => secret)
}
