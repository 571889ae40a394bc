import type { FastifyInstance } from 'fastify'
import type { ZodTypeProvider } from 'fastify-type-provider-zod'
import { z } from 'zod'
import type { Events } from '../../shared/webhooks/events.ts'
import { ErrorResponse } from '../../shared/schemas/error.ts'
import { Event, EventList, EventListQuery } from '../../shared/schemas/webhook.ts'
import { found, knownPage, toList } from '../webhook-replies.ts'

const Params = z.object({ id: z.string() })
const errors = { '4xx': ErrorResponse, '5xx': ErrorResponse }
const tags = ['webhooks']

/** `/events`: what was told, as it was told, for those who missed it. */
export function addEventRoutes(app: FastifyInstance, { events }: { events: Events }): void {
  const routes = app.withTypeProvider<ZodTypeProvider>()

  const listSchema = {
    summary: 'List events, newest first',
    description:
      'Whatever had a receiver when it happened. One call looks at no more than 10,000 events: a short page with `has_more` goes on at `last_id`.',
    tags,
    querystring: EventListQuery,
    response: { 200: EventList, ...errors },
  }
  routes.get('/events', { schema: listSchema }, async (request) => {
    const page = knownPage(await events.list(request.tenant, request.query), 'event')
    return toList(page.events, page.hasMore, page.goOnFrom)
  })

  const readSchema = {
    summary: 'Read an event',
    description: 'The body of its deliveries, except for a result that was sent along.',
    tags,
    params: Params,
    response: { 200: Event, ...errors },
  }
  routes.get('/events/:id', { schema: readSchema }, async ({ tenant, params }) =>
    found(await events.read(tenant, params.id), 'event'),
  )
}
