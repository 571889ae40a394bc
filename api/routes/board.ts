import type { FastifyInstance, FastifyRequest } from 'fastify'
import { AuthenticationError } from '../../shared/errors.ts'
import { BOARD_PATH, type Board } from '../board.ts'
import type { Principal } from '../plugins/auth.ts'

const BASIC = /^Basic +([A-Za-z0-9+/=]{1,1024})$/i

/**
 * `/admin/queues`: the page of queues, for the master key alone: as a bearer, or, as browsers ask for it, as the password of
 * anybody. Everything else gets one and the same 401. It is read only: no other method is served.
 */
export function addBoardRoute(
  app: FastifyInstance,
  {
    board,
    principalOf,
  }: { board: Board; principalOf: (request: Pick<FastifyRequest, 'headers'>) => Promise<Principal | null> },
): void {
  for (const url of [BOARD_PATH, `${BOARD_PATH}/*`]) {
    app.get(url, { schema: { hide: true } }, async (request, reply) => {
      const principal = await principalOf({ headers: withBearer(request) })
      if (!principal?.isMaster) {
        void reply.header('www-authenticate', 'Basic realm="byok-gateway", charset="UTF-8"')
        throw new AuthenticationError()
      }
      const serve = await board.load()
      reply.hijack()
      reply.raw.setHeader('x-request-id', request.id)
      serve(request.raw, reply.raw)
    })
  }
}

function withBearer({ headers }: FastifyRequest): FastifyRequest['headers'] {
  const basic = BASIC.exec(headers.authorization ?? '')?.[1]
  if (basic === undefined) return headers
  const text = Buffer.from(basic, 'base64').toString('utf8')
  return { authorization: `Bearer ${text.slice(text.indexOf(':') + 1)}` }
}
