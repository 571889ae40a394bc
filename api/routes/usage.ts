import type { FastifyInstance } from 'fastify'
import type { ZodTypeProvider } from 'fastify-type-provider-zod'
import { z } from 'zod'
import type { Accounts } from '../../shared/tenants/accounts.ts'
import { NotFoundError } from '../../shared/errors.ts'
import { ErrorResponse } from '../../shared/schemas/error.ts'
import { TenantId } from '../../shared/schemas/tenant.ts'
import { LimitsQuery, LimitsView, UsagePage, UsageQuery } from '../../shared/schemas/usage.ts'
import type { UsageStore } from '../../shared/tenants/usage.ts'
import { requireReach } from '../admin.ts'
import { readLimits } from '../limits.ts'
import { readUsage } from '../usage.ts'

export type UsageDeps = { accounts: Accounts; usage: Pick<UsageStore, 'read'> }

const TenantParams = z.object({ id: z.string() })
const errors = { '4xx': ErrorResponse, '5xx': ErrorResponse }
const tags = ['usage']

/** `/limits` and `/usage` of whoever calls; `/admin/tenants/{id}/usage` of any tenant that the key reaches. */
export function addUsageRoutes(app: FastifyInstance, { accounts, usage }: UsageDeps): void {
  const routes = app.withTypeProvider<ZodTypeProvider>()

  const limitsSchema = {
    summary: 'Read the own limits',
    description:
      'Of the tenant, and with `?customer=` of one of its customers: each limit, how much of it is used now, and when that clears.',
    tags,
    querystring: LimitsQuery,
    response: { 200: LimitsView, ...errors },
  }
  routes.get('/limits', { schema: limitsSchema }, async (request) =>
    readLimits(accounts, request.principal, request.query.customer),
  )

  const usageSchema = {
    summary: 'Read what was used',
    description:
      'By UTC days, oldest first: jobs and lines of batches that ended, their tokens and what they cost. A moment late; kept 93 days. Each day that is over is also a file with the purpose `usage`.',
    tags,
    querystring: UsageQuery,
    response: { 200: UsagePage, ...errors },
  }
  routes.get('/usage', { schema: usageSchema }, async (request) =>
    readUsage(usage, request.tenant, request.query),
  )

  const adminSchema = {
    ...usageSchema,
    summary: 'Read what a tenant used',
    tags: ['admin'],
    params: TenantParams,
  }
  const admin = { scope: 'admin' as const }
  routes.get('/admin/tenants/:id/usage', { schema: adminSchema, config: admin }, async (request) => {
    const { id } = request.params
    requireReach(request, id)
    if (!TenantId.safeParse(id).success) throw new NotFoundError('tenant')
    return readUsage(usage, id, request.query)
  })
}
