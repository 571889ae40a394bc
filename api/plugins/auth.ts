import { hash, timingSafeEqual } from 'node:crypto'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { hashApiKey, MASTER_TENANT, SCOPES, type Scope } from '../../shared/api-keys.ts'
import { AuthenticationError } from '../../shared/errors.ts'
import type { Tenant } from '../../shared/schemas/tenant.ts'
import type { KeyCache } from '../key-cache.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /** Whose gateway key the call came with; everything it reads or writes belongs to this tenant. */
    tenant: string
    /** Who calls, and what its key may do. */
    principal: Principal
  }
}

/** Who calls, by its gateway key. Null where there is no restriction. */
export type Principal = {
  tenant: string
  /** Null: the master key. */
  keyId: string | null
  isMaster: boolean
  scopes: ReadonlySet<Scope>
  /** Names, or `prefix*`, of the models that may be asked for; paths of the endpoints. */
  models: readonly string[] | null
  endpoints: readonly string[] | null
  /** The one customer that the key is for. */
  customer: string | null
  /** The tenant's record; null: it has none, and no limits. */
  record: Tenant | null
}

const ALL_SCOPES: ReadonlySet<Scope> = new Set(SCOPES)

const BEARER = /^Bearer +([\x21-\x7e]{1,512})$/i
const BARE = /^[\x21-\x7e]{1,512}$/
/** Where the SDKs of Azure and Anthropic put a key. */
const KEY_HEADERS = ['api-key', 'x-api-key']

/**
 * Lets a call through only with a working gateway key, and notes whose it is. Missing, malformed, unknown and revoked
 * keys give one and the same answer.
 * @param masterKey null: only keys from the store work.
 */
export function addAuth(app: FastifyInstance, keyCache: KeyCache, masterKey: string | null): void {
  const masterHash = masterKey === null ? null : digest(masterKey)

  app.decorateRequest('tenant', '')
  app.addHook('onRequest', async (request) => {
    const key = readKey(request)
    if (key === null) throw new AuthenticationError()
    // Digests have one length, and how far two of them agree says nothing about the keys.
    if (masterHash !== null && timingSafeEqual(digest(key), masterHash)) {
      request.tenant = MASTER_TENANT
      request.principal = principalOf({ tenant: MASTER_TENANT, keyId: null, isMaster: true })
      return
    }
    const found = await keyCache.find(hashApiKey(key))
    if (!found) throw new AuthenticationError()
    request.tenant = found.tenant
    request.principal = principalOf({ tenant: found.tenant, keyId: found.id, isMaster: false })
  })
}

function principalOf(who: Pick<Principal, 'tenant' | 'keyId' | 'isMaster'>): Principal {
  return { ...who, scopes: ALL_SCOPES, models: null, endpoints: null, customer: null, record: null }
}

function readKey({ headers }: FastifyRequest): string | null {
  const bearer = BEARER.exec(headers.authorization ?? '')?.[1]
  if (bearer !== undefined) return bearer
  const bare = KEY_HEADERS.map((name) => headers[name]).find((value) => typeof value === 'string')
  return typeof bare === 'string' && BARE.test(bare) ? bare : null
}

function digest(text: string): Buffer {
  return hash('sha256', text, 'buffer')
}
