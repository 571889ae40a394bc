import type { FastifyInstance } from 'fastify'
import type { DescribedRoute } from '../docs-app.ts'

/**
 * Serves `/openapi.json` and, offline too, a page to read and try it at `/docs`. What makes them is loaded when somebody first
 * asks: it takes a tenth of a start, and 15 MB. Register before the routes.
 */
export function addDocs(app: FastifyInstance): void {
  const routes: DescribedRoute[] = []
  let opened: Promise<FastifyInstance> | null = null

  app.addHook('onRoute', ({ method, url, schema }) => {
    if (url.startsWith('/v1/') && method !== 'HEAD') routes.push({ method, url, schema })
  })
  app.addHook('onClose', async () => {
    const docs = await opened
    await docs?.close()
  })

  function open(): Promise<FastifyInstance> {
    opened ??= import('../docs-app.ts').then(({ buildDocs }) => buildDocs(routes))
    return opened
  }

  app.get('/openapi.json', async () => (await open()).swagger())
  for (const url of ['/docs', '/docs/*']) {
    app.get(url, async (request, reply) => {
      const docs = await open()
      reply.hijack()
      reply.raw.setHeader('x-request-id', request.id)
      docs.routing(request.raw, reply.raw)
    })
  }
}
