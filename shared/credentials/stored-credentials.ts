import type { Redis } from 'ioredis'
import type { Admitter } from '../capacity.ts'
import { CREDENTIAL_FIELDS, openSecret, parseCredential, sealedFields } from './credential-record.ts'
import type { CredentialRecord, CredentialSecret } from './credential-record.ts'
import { ConflictError } from '../errors.ts'
import type { Ids } from '../ids.ts'
import type { Keys } from '../keys.ts'
import type { NamedCredentials, StoredCredential } from './named-credentials.ts'
import { randomPart } from '../random.ts'
import { redisNowMs } from '../redis.ts'
import { createScript } from '../scripts.ts'
import type { Sealer } from '../seal.ts'

/** At most so many a tenant: one for each of its customers, and some. */
export const CREDENTIALS_MAX = 10_000

const PAGE = 200
// Two who change one credential at once are rare, a hundred are a mistake.
const WRITES_MAX = 20

/** What one is made of, checked. */
export type NewCredential = Pick<CredentialRecord, 'customer' | 'kind' | 'name' | 'metadata'> & {
  secret: CredentialSecret
}

/** What one becomes. `secret` null: as it was. */
export type ChangedCredential = Pick<CredentialRecord, 'name' | 'metadata'> & {
  secret: CredentialSecret | null
}

export type CredentialPage = { credentials: CredentialRecord[]; hasMore: boolean }

/**
 * The store of credentials that tenants keep here. Their secret part is sealed; nothing of it is ever cached, so that one
 * that is deleted or changed is so for the very next request of any process. A tenant's are reached by tenant and id.
 */
export function createStoredCredentials(deps: {
  redis: Redis
  keys: Keys
  ids: Ids
  sealer: Sealer
  /** Whether Redis has room for more; left out where none are made. */
  capacity?: Admitter
}) {
  const { redis, keys, ids, sealer, capacity } = deps
  const writeCredential = createScript(redis, 'write-credential')
  const deleteCredential = createScript(redis, 'delete-credential')

  async function write(
    record: CredentialRecord,
    revision: string,
    secret: CredentialSecret | null,
  ): Promise<'written' | 'full' | 'stale'> {
    const reply = await writeCredential(
      [keys.credential(record.id), keys.credentialIndex(record.tenant)],
      [
        record.id, revision, randomPart(12).toString('base64url'), CREDENTIALS_MAX,
        ...sealedFields(record, secret, sealer),
      ], // oxfmt-ignore
    )
    return String(reply) as 'written' | 'full' | 'stale' // see the script
  }

  /**
   * @throws {ConflictError} when the tenant has as many as it may have.
   * @throws {StorageFullError} when Redis has no room for it.
   */
  async function create(tenant: string, given: NewCredential): Promise<CredentialRecord> {
    const { secret, ...rest } = given
    capacity?.check()
    capacity?.note(JSON.stringify(secret).length)
    const nowMs = await redisNowMs(redis)
    const id = ids.newCredentialId(tenant, nowMs)
    const { provider, host, hint } = secret
    const record = { ...rest, id, tenant, provider, host, hint, createdMs: nowMs, updatedMs: nowMs }
    if ((await write(record, '', secret)) === 'written') return record
    const message = `There are ${CREDENTIALS_MAX} stored credentials already, and there can be no more. Delete some.`
    throw new ConflictError(message, 'too_many_credentials')
  }

  async function fetchOne(tenant: string, id: string) {
    // Only our own ids are made into keys.
    if (!ids.isOwnCredentialId(tenant, id)) return null
    const fields = await redis.hmgetBuffer(keys.credential(id), ...CREDENTIAL_FIELDS)
    const found = parseCredential(id, fields, sealer)
    return found?.record.tenant === tenant ? found : null
  }

  async function read(tenant: string, id: string): Promise<CredentialRecord | null> {
    return (await fetchOne(tenant, id))?.record ?? null
  }

  /**
   * Changes one, again while others come first.
   * @param apply gets what is there, and its secret part, which is opened only when asked for.
   * @returns null when there is none.
   */
  async function change(
    tenant: string,
    id: string,
    apply: (record: CredentialRecord, stored: () => StoredCredential) => ChangedCredential,
  ): Promise<CredentialRecord | null> {
    for (let count = 0; count < WRITES_MAX; count += 1) {
      const [found, nowMs] = await Promise.all([fetchOne(tenant, id), redisNowMs(redis)])
      if (!found) return null
      const { record, revision, secret: sealed } = found
      const { secret, ...rest } = apply(record, () => openSecret(record, sealed, sealer))
      const shown =
        secret === null ? record : { provider: secret.provider, host: secret.host, hint: secret.hint }
      const { provider, host, hint } = shown
      const changed = {
        ...record,
        ...rest,
        provider,
        host,
        hint,
        updatedMs: Math.max(nowMs, record.updatedMs),
      }
      if ((await write(changed, revision, secret)) === 'written') return changed
    }
    throw new ConflictError('Others change this credential all the time. Try again.', 'credential_changed')
  }

  /** A page of a tenant's, newest first; only this customer's unless undefined. @returns null when `after` is no id of one. */
  async function list(
    tenant: string,
    {
      after,
      limit,
      customer,
    }: { after?: string | undefined; limit: number; customer?: string | null | undefined },
  ): Promise<CredentialPage | null> {
    if (after !== undefined && !ids.isOwnCredentialId(tenant, after)) return null
    const credentials: CredentialRecord[] = []
    for (let from = after; credentials.length <= limit;) {
      const start = from === undefined ? '+' : `(${from}`
      const page = await redis.zrevrangebylex(keys.credentialIndex(tenant), start, '-', 'LIMIT', 0, PAGE)
      const records = await Promise.all(page.map((id) => read(tenant, id)))
      for (const record of records) {
        if (record && (customer === undefined || record.customer === customer)) credentials.push(record)
      }
      from = page.at(-1)
      if (from === undefined) break
    }
    return { credentials: credentials.slice(0, limit), hasMore: credentials.length > limit }
  }

  /** One read: the secret part of a credential, to be used at once. Null: the tenant has no such. */
  async function open(tenant: string, id: string): Promise<StoredCredential | null> {
    const found = await fetchOne(tenant, id)
    return found && openSecret(found.record, found.secret, sealer)
  }

  /** Those of a tenant that a request names; unknown ones are left out. */
  async function openAll(tenant: string, named: readonly string[]): Promise<NamedCredentials> {
    const opened = await Promise.all(named.map(async (id) => [id, await open(tenant, id)] as const))
    return new Map(opened.flatMap(([id, stored]) => (stored ? [[id, stored]] : [])))
  }

  return {
    create,
    read,
    change,
    list,
    open,
    openAll,
    /** @returns whether there was one. */
    async remove(tenant: string, id: string): Promise<boolean> {
      if (!ids.isOwnCredentialId(tenant, id)) return false
      return Number(await deleteCredential([keys.credential(id), keys.credentialIndex(tenant)], [id])) === 1
    },
  }
}

export type StoredCredentials = ReturnType<typeof createStoredCredentials>
