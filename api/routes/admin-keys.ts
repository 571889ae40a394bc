import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { ZodTypeProvider } from 'fastify-type-provider-zod'
import { z } from 'zod'
import type { ApiKeys } from '../../shared/tenants/api-keys.ts'
import { InvalidRequestError, NotFoundError } from '../../shared/errors.ts'
import { ApiKey, ApiKeySettings, NewApiKey } from '../../shared/schemas/api-key.ts'
import { ErrorResponse } from '../../shared/schemas/error.ts'
import type { Tenants } from '../../shared/tenants/tenants.ts'
import { AdminListQuery, requireReach } from '../admin.ts'

export type AdminKeyDeps = { apiKeys: ApiKeys; tenants: Pick<Tenants, 'get'> }

const IdParams = z.object({ id: z.string() })
const ApiKeyList = z.object({
  object: z.literal('list'),
  data: z.array(ApiKey),
  first_id: z.string().nullable(),
  last_id: z.string().nullable(),
  has_more: z.boolean(),
})
const DeletedApiKey = z.object({ id: z.string(), object: z.literal('api_key'), deleted: z.literal(true) })
const errors = { '4xx': ErrorResponse, '5xx': ErrorResponse }
const tags = ['admin']

/** `/admin/tenants/{id}/keys` and `/admin/keys`: gateway keys, of any tenant or, with the scope `admin`, of one's own. */
export function addAdminKeyRoutes(app: FastifyInstance, { apiKeys, tenants }: AdminKeyDeps): void {
  const routes = app.withTypeProvider<ZodTypeProvider>()
  const config = { scope: 'admin' as const }

  const createSchema = {
    summary: 'Create a gateway key',
    description: 'The answer is the only place where the key itself is shown.',
    tags,
    params: IdParams,
    body: ApiKeySettings.nullish(),
    response: { 200: NewApiKey, ...errors },
  }
  routes.post('/admin/tenants/:id/keys', { schema: createSchema, config }, async (request, reply) => {
    const { id } = request.params
    await requireTenant(request, id)
    void reply.header('cache-control', 'no-store')
    return apiKeys.create(id, request.body ?? {})
  })

  const listSchema = {
    summary: "List a tenant's gateway keys, newest first",
    description: 'Expired ones too, until they are revoked.',
    tags,
    params: IdParams,
    querystring: AdminListQuery,
    response: { 200: ApiKeyList, ...errors },
  }
  routes.get('/admin/tenants/:id/keys', { schema: listSchema, config }, async (request) => {
    const { id } = request.params
    await requireTenant(request, id)
    const page = await apiKeys.list(id, request.query)
    if (!page) throw new InvalidRequestError('`after` is no id of a key of this tenant.', 'after')
    const data = page.apiKeys
    const [first_id, last_id] = [data[0]?.id ?? null, data.at(-1)?.id ?? null]
    return { object: 'list' as const, data, first_id, last_id, has_more: page.hasMore }
  })

  const readSchema = {
    summary: 'Read what a gateway key is for',
    tags,
    params: IdParams,
    response: { 200: ApiKey, ...errors },
  }
  routes.get('/admin/keys/:id', { schema: readSchema, config }, (request) => readKey(request))

  const updateSchema = {
    summary: 'Change what a gateway key is for',
    description: 'Holds at once, in every process. What is left out stays.',
    tags,
    params: IdParams,
    body: ApiKeySettings,
    response: { 200: ApiKey, ...errors },
  }
  routes.post('/admin/keys/:id', { schema: updateSchema, config }, async (request) => {
    const { id } = await readKey(request)
    const changed = await apiKeys.update(id, request.body)
    if (!changed) throw new NotFoundError('gateway key')
    return changed
  })

  const deleteSchema = {
    summary: 'Revoke a gateway key',
    description: 'Holds at once, in every process.',
    tags,
    params: IdParams,
    response: { 200: DeletedApiKey, ...errors },
  }
  routes.delete('/admin/keys/:id', { schema: deleteSchema, config }, async (request) => {
    const { id } = await readKey(request)
    if (!(await apiKeys.revoke(id))) throw new NotFoundError('gateway key')
    return { id, object: 'api_key' as const, deleted: true as const }
  })

  async function requireTenant(request: FastifyRequest, id: string): Promise<void> {
    requireReach(request, id)
    // Keys may be older than records of tenants: whoever has one is there.
    if (request.tenant !== id && (await tenants.get(id)) === null) throw new NotFoundError('tenant')
  }

  async function readKey({
    tenant,
    principal,
    params,
  }: FastifyRequest<{ Params: { id: string } }>): Promise<ApiKey> {
    const key = await apiKeys.get(params.id)
    if (!key || (!principal.isMaster && key.tenant !== tenant)) throw new NotFoundError('gateway key')
    return key
  }
}
