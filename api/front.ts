import { fastify, type FastifyInstance, type FastifyRequest } from 'fastify'
import { ofTenant } from '../shared/shards.ts'
import type { Principal } from './plugins/auth.ts'
import { addEnd, serverOptions, type ServerDeps } from './server.ts'

/**
 * One server for the apps of all shards: a call goes on to that of its key's tenant, which alone has what is this tenant's. A
 * call without a key that works is any app's to answer, and so is one while Redis can't be asked. It closes the apps.
 *
 * @param deps.principalOf Who calls; null: nobody whose key works.
 * @returns the app itself where there is one: a second way through Fastify costs time.
 */
export async function buildFront(
  apps: readonly FastifyInstance[],
  deps: ServerDeps & { principalOf: (request: FastifyRequest) => Promise<Principal | null> },
): Promise<FastifyInstance> {
  const [first] = apps
  if (first && apps.length === 1) return first
  const front = fastify(serverOptions(deps))
  addEnd(front, deps.holds)
  front.addHook('onRequest', async (request, reply) => {
    const principal = await deps.principalOf(request).catch(() => null)
    const app = ofTenant(apps, principal?.tenant ?? '')
    reply.hijack()
    app.routing(request.raw, reply.raw)
  })
  front.addHook('onClose', async () => void (await Promise.all(apps.map((app) => app.close()))))
  await Promise.all(apps.map((app) => app.ready()))
  return front
}
