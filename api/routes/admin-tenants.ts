import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { ZodTypeProvider } from 'fastify-type-provider-zod'
import { z } from 'zod'
import type { ApiKeys } from '../../shared/tenants/api-keys.ts'
import { InsufficientScopeError, InvalidRequestError, NotFoundError } from '../../shared/errors.ts'
import { ErrorResponse } from '../../shared/schemas/error.ts'
import { Tenant, TenantChange, TenantId, TenantSettings } from '../../shared/schemas/tenant.ts'
import type { AllTenants, TenantPage } from '../../shared/tenants/tenants.ts'
import { AdminListQuery, requireReach } from '../admin.ts'
import type { DurabilityCheck } from '../durable.ts'

export type AdminTenantDeps = {
  tenants: AllTenants
  apiKeys: Pick<ApiKeys, 'revokeAll'>
  requireDurability: DurabilityCheck
}

/** What a tenant's own `admin` key may change of it: what is the operator's to grant is not among it. */
const OWN_FIELDS: ReadonlySet<string> = new Set(['name', 'customer_limits', 'customers'])

const TenantParams = z.object({ id: z.string() })
const NewTenant = TenantSettings.extend({ id: TenantId })
const TenantList = z.object({
  object: z.literal('list'),
  data: z.array(Tenant),
  first_id: z.string().nullable(),
  last_id: z.string().nullable(),
  has_more: z.boolean(),
})
const errors = { '4xx': ErrorResponse, '5xx': ErrorResponse }
const tags = ['admin']

/** `/admin/tenants`: the master key sees and sets all of them, a key with the scope `admin` some of its own. */
export function addAdminTenantRoutes(app: FastifyInstance, deps: AdminTenantDeps): void {
  const { tenants, apiKeys } = deps
  const routes = app.withTypeProvider<ZodTypeProvider>()
  const admin = { scope: 'admin' as const }
  const master = { scope: 'master' as const }

  const createSchema = {
    summary: 'Create a tenant',
    description: 'With the master key. Its keys are made at `/admin/tenants/{id}/keys`.',
    tags,
    body: NewTenant,
    response: { 200: Tenant, ...errors },
  }
  routes.post('/admin/tenants', { schema: createSchema, config: master }, async (request) => {
    const { id, ...settings } = request.body
    await checkDurability(id, settings)
    return tenants.create(id, settings)
  })

  const listSchema = {
    summary: 'List tenants, newest first',
    tags,
    querystring: AdminListQuery,
    response: { 200: TenantList, ...errors },
  }
  routes.get('/admin/tenants', { schema: listSchema, config: admin }, async (request) => {
    const page = await pageFor(request, request.query)
    if (!page) throw new InvalidRequestError('`after` is no id of a tenant.', 'after')
    const data = page.tenants
    const [first_id, last_id] = [data[0]?.id ?? null, data.at(-1)?.id ?? null]
    return { object: 'list' as const, data, first_id, last_id, has_more: page.hasMore }
  })

  const readSchema = {
    summary: 'Read a tenant',
    tags,
    params: TenantParams,
    response: { 200: Tenant, ...errors },
  }
  routes.get('/admin/tenants/:id', { schema: readSchema, config: admin }, async (request) => {
    requireReach(request, request.params.id)
    return orMissing(await tenants.get(request.params.id))
  })

  const updateSchema = {
    summary: 'Change a tenant',
    description:
      'What is left out stays; a group (`limits`, `customers`, ...) stands in the place of the whole group. A key with the scope `admin` changes `name`, `customer_limits` and `customers` of its own tenant.',
    tags,
    params: TenantParams,
    body: TenantChange,
    response: { 200: Tenant, ...errors },
  }
  routes.post('/admin/tenants/:id', { schema: updateSchema, config: admin }, async (request) => {
    requireReach(request, request.params.id)
    const isOwn = Object.keys(request.body).every((field) => OWN_FIELDS.has(field))
    if (!isOwn && !request.principal.isMaster) throw new InsufficientScopeError('the master key')
    await checkDurability(request.params.id, request.body)
    return orMissing(await tenants.update(request.params.id, () => request.body))
  })

  const deleteSchema = {
    summary: 'End a tenant',
    description:
      'With the master key. Disables it and revokes its keys for good. What it has submitted goes on, and is kept as long as its retention says; so its record stays, too.',
    tags,
    params: TenantParams,
    response: { 200: Tenant, ...errors },
  }
  routes.delete('/admin/tenants/:id', { schema: deleteSchema, config: master }, async (request) => {
    const { id } = request.params
    const ended = orMissing(await tenants.update(id, () => ({ disabled: true })))
    await apiKeys.revokeAll(id)
    return ended
  })

  /** What can't be kept is not promised. */
  async function checkDurability(id: string, { durability }: TenantSettings): Promise<void> {
    if (durability === 'fsync') await deps.requireDurability(id, 'durability')
  }

  async function pageFor(
    { tenant, principal }: FastifyRequest,
    query: z.infer<typeof AdminListQuery>,
  ): Promise<TenantPage | null> {
    if (principal.isMaster) return tenants.list(query)
    const own = principal.record === null ? [] : [principal.record]
    if (query.after !== undefined) return query.after === tenant ? { tenants: [], hasMore: false } : null
    return { tenants: own, hasMore: false }
  }
}

function orMissing(tenant: Tenant | null): Tenant {
  if (!tenant) throw new NotFoundError('tenant')
  return tenant
}
