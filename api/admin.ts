import type { FastifyRequest } from 'fastify'
import { z } from 'zod'
import { NotFoundError } from '../shared/errors.ts'

/** Query of the lists under `/admin`. */
export const AdminListQuery = z.strictObject({
  after: z.string().optional().describe('Id of the last one of the page before.'),
  limit: z.coerce.number().int().min(1).max(100).default(20),
})

/**
 * Lets the master key through to any tenant, and others to their own.
 * @throws {NotFoundError} as for a tenant that there is not.
 */
export function requireReach({ tenant, principal }: FastifyRequest, id: string): void {
  if (!principal.isMaster && id !== tenant) throw new NotFoundError('tenant')
}
