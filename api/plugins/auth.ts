import { hash, timingSafeEqual } from 'node:crypto'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { Allowed } from '../../shared/tenants/allowed.ts'
import { hashApiKey, MASTER_TENANT } from '../../shared/tenants/api-keys.ts'
import { AuthenticationError, InsufficientScopeError } from '../../shared/errors.ts'
import { SCOPES, type Scope } from '../../shared/schemas/api-key.ts'
import type { Tenant } from '../../shared/schemas/tenant.ts'
import type { KeyCache } from '../key-cache.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /** Whose gateway key the call came with; everything it reads or writes belongs to this tenant. */
    tenant: string
    /** Who calls, and what its key may do. */
    principal: Principal
  }
  interface FastifyContextConfig {
    /** What a key must be for; unless it says so, `read` for what only reads, else `submit`. */
    scope?: Scope | 'master'
  }
}

/** Who calls, by its gateway key, and what it may ask for. */
export type Principal = Allowed & {
  tenant: string
  /** Null: the master key. */
  keyId: string | null
  isMaster: boolean
  scopes: ReadonlySet<Scope>
  /** The tenant's record; null: it has none, and no limits. */
  record: Tenant | null
}

const ALL_SCOPES: ReadonlySet<Scope> = new Set(SCOPES)
const BEARER = /^Bearer +([\x21-\x7e]{1,512})$/i
const BARE = /^[\x21-\x7e]{1,512}$/
/** Where the SDKs of Azure and Anthropic put a key. */
const KEY_HEADERS = ['api-key', 'x-api-key']
/** What a call is by its method, where the route does not say otherwise. */
const READS: ReadonlySet<string> = new Set(['GET', 'HEAD'])
const NEEDS = {
  submit: 'the scope `submit`',
  read: 'the scope `read`',
  admin: 'the master key, or the scope `admin`',
  master: 'the master key',
}

/**
 * Lets a call through only with a working gateway key, and notes whose it is. Missing, malformed, unknown, revoked and
 * expired keys, and those of a tenant that is disabled, give one and the same answer.
 * @param masterKey null: only keys from the store work.
 */
export function addAuth(app: FastifyInstance, keyCache: KeyCache, masterKey: string | null): void {
  const principalOf = createAuth(keyCache, masterKey)

  app.decorateRequest('tenant', '')
  app.addHook('onRequest', async (request) => {
    const principal = await principalOf(request)
    if (!principal) throw new AuthenticationError()
    requireScope(principal, request)
    request.tenant = principal.tenant
    request.principal = principal
  })
}

/** Tells who calls by the key of a call; null: nobody whose key works. @param masterKey null: only keys from the store work. */
export function createAuth(keyCache: KeyCache, masterKey: string | null) {
  const masterHash = masterKey === null ? null : digest(masterKey)

  async function master(): Promise<Principal> {
    const record = await keyCache.tenantOf(MASTER_TENANT)
    const any = { scopes: ALL_SCOPES, models: null, endpoints: null }
    return { tenant: MASTER_TENANT, keyId: null, isMaster: true, ...any, record }
  }

  async function keyHolder(key: string): Promise<Principal | null> {
    const found = await keyCache.find(hashApiKey(key))
    if (!found) return null
    const { id, tenant, scopes, models, endpoints } = found.key
    const record = found.tenant
    return { tenant, keyId: id, isMaster: false, scopes: new Set(scopes), models, endpoints, record }
  }

  return async function principalOf(request: Pick<FastifyRequest, 'headers'>): Promise<Principal | null> {
    const key = readKey(request)
    if (key === null) return null
    // Digests have one length, and how far two of them agree says nothing about the keys.
    const isMaster = masterHash !== null && timingSafeEqual(digest(key), masterHash)
    return isMaster ? master() : keyHolder(key)
  }
}

function requireScope({ isMaster, scopes }: Principal, { method, routeOptions }: FastifyRequest): void {
  if (isMaster) return
  const needed = routeOptions.config.scope ?? (READS.has(method) ? 'read' : 'submit')
  if (needed === 'master' || !scopes.has(needed)) throw new InsufficientScopeError(NEEDS[needed])
}

function readKey({ headers }: Pick<FastifyRequest, 'headers'>): string | null {
  const bearer = BEARER.exec(headers.authorization ?? '')?.[1]
  if (bearer !== undefined) return bearer
  const bare = KEY_HEADERS.map((name) => headers[name]).find((value) => typeof value === 'string')
  return typeof bare === 'string' && BARE.test(bare) ? bare : null
}

function digest(text: string): Buffer {
  return hash('sha256', text, 'buffer')
}
