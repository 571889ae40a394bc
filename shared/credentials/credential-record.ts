import { InvalidRequestError, SealError } from '../errors.ts'
import { parseJsonLossless } from '../lossless-json.ts'
import type { StoredCredential } from './named-credentials.ts'
import type { ScriptArgument } from '../scripts.ts'
import type { Sealer } from '../seal.ts'

/** A stored credential without its secret part. Times in milliseconds. */
export type CredentialRecord = {
  id: string
  tenant: string
  customer: string | null
  kind: 'bundle' | 'user_config'
  name: string | null
  metadata: Record<string, string>
  createdMs: number
  updatedMs: number
} & Shown

/** What is shown of the secret part. Null: not known, or not for anybody's eyes. */
type Shown = { provider: string | null; host: string | null; hint: string | null }

/** The secret part, checked, with what is shown of it. */
export type CredentialSecret = Shown & { fields: Record<string, unknown> }

/** Fields of a credential's hash, in the order that `parseCredential` takes their values. */
export const CREDENTIAL_FIELDS = [
  'tenant', 'customer', 'kind', 'name', 'metadata', 'created', 'updated', 'revision', 'shown', 'secret',
] as const // oxfmt-ignore

const UNREADABLE: Shown = { provider: null, host: null, hint: null }

/**
 * Record -> fields and values of its hash; what is shown of the secret part is sealed as well, since it tells of it.
 * @param secret Null: stays as it is.
 */
export function sealedFields(
  record: CredentialRecord,
  secret: CredentialSecret | null,
  sealer: Sealer,
): ScriptArgument[] {
  const { id, tenant, customer, kind, name, metadata, createdMs, updatedMs } = record
  const sealed = sealer.record({ tenant, kind: 'credential', id })
  const plain = [
    'tenant', tenant, 'customer', JSON.stringify(customer), 'kind', kind, 'name', JSON.stringify(name),
    'metadata', JSON.stringify(metadata), 'created', createdMs, 'updated', updatedMs,
  ] // oxfmt-ignore
  if (!secret) return plain
  const { provider, host, hint, fields } = secret
  return [
    ...plain,
    'shown',
    sealed.seal('shown', JSON.stringify({ provider, host, hint })),
    'secret',
    sealed.seal('secret', JSON.stringify({ provider, fields })),
  ]
}

/** Hash fields -> record, the revision it is at, and its secret part as it lies there; null when there is none. */
export function parseCredential(
  id: string,
  values: readonly (Buffer | null)[],
  sealer: Sealer,
): { record: CredentialRecord; revision: string; secret: Buffer } | null {
  const [tenant, customer, kind, name, metadata, created, updated, revision, shown, secret] = values
  if (!tenant || !revision || !shown || !secret) return null
  const owner = tenant.toString()
  return {
    // Written by our own store.
    record: {
      id,
      tenant: owner,
      customer: JSON.parse(String(customer)) as string | null,
      kind: String(kind) === 'user_config' ? 'user_config' : 'bundle',
      name: JSON.parse(String(name)) as string | null,
      metadata: JSON.parse(String(metadata)) as Record<string, string>,
      createdMs: Number(created),
      updatedMs: Number(updated),
      ...openShown({ tenant: owner, id }, shown, sealer),
    },
    revision: revision.toString(),
    secret,
  }
}

// One that does not open must not hide all the others of a list.
function openShown(place: { tenant: string; id: string }, sealed: Buffer, sealer: Sealer): Shown {
  try {
    return JSON.parse(
      sealer.open({ ...place, kind: 'credential', field: 'shown' }, sealed).toString(),
    ) as Shown // as written
  } catch (error) {
    if (!(error instanceof SealError)) throw error
    return UNREADABLE
  }
}

/**
 * Opens the secret part of a credential.
 * @throws {InvalidRequestError} when it was sealed with a key that this installation does not have any more.
 */
export function openSecret(record: CredentialRecord, secret: Buffer, sealer: Sealer): StoredCredential {
  const { tenant, id, customer } = record
  try {
    const text = sealer.open({ tenant, kind: 'credential', id, field: 'secret' }, secret).toString()
    const { provider, fields } = parseJsonLossless(text) as Pick<StoredCredential, 'provider' | 'fields'> // as written
    return { customer, provider, fields }
  } catch (cause) {
    if (!(cause instanceof SealError)) throw cause
    const message =
      'The stored `credential` does not open with the encryption keys of this installation. Give its key anew.'
    const error = new InvalidRequestError(message, 'credential', 'credential_unreadable')
    error.cause = cause
    throw error
  }
}
