import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Redis } from 'ioredis'
import { BATCHES_QUEUE, CHECKS_QUEUE } from '../shared/batches/batch-queue.ts'
import { JOBS_QUEUE, openQueue } from '../shared/jobs/queues.ts'
import type { Keys } from '../shared/keys.ts'
import { WEBHOOKS_QUEUE } from '../shared/webhooks/delivery-queue.ts'

/** Where the page of queues is. */
export const BOARD_PATH = '/admin/queues'

const QUEUES = [JOBS_QUEUE, BATCHES_QUEUE, CHECKS_QUEUE, WEBHOOKS_QUEUE]

// What else it could ask for (logs, flows, workers by address) shows nothing here, or what is not for a page.
const SHOWN: ReadonlySet<string> = new Set([
  '/api/redis/stats',
  '/api/queues',
  '/api/job-schedulers',
  '/api/queues/:queueName/metrics',
  '/api/queues/:queueName/:jobId',
])

// Everything from here and nothing else; the page styles its elements one by one.
const HEADERS = {
  'content-security-policy':
    "default-src 'self'; base-uri 'self'; font-src 'self' data:; form-action 'none'; frame-ancestors 'none'; img-src 'self' data:; object-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'",
  'cache-control': 'no-store',
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
}

// Fonts from elsewhere: without them it is drawn in those that a machine has.
const FOREIGN_LINKS = /<link\b[^>]*\bhref="https?:[^>]*>/g

const HIDDEN = '(not shown)'

/** The page of queues, of Bull Board. */
export type Board = ReturnType<typeof createBoard>

/**
 * Makes the page of queues: how many entries of each there are, and which; read-only, with nothing of what they hold. It is
 * loaded when it is first asked for. Who may see it is the caller's to know.
 */
export function createBoard({ redis, shards }: { redis: Redis; shards: readonly Keys[] }) {
  let opened: Promise<Awaited<ReturnType<typeof open>>> | null = null

  async function open() {
    const [{ fastify }, { createBullBoard }, { BullMQAdapter }, { FastifyAdapter }] = await Promise.all([
      import('fastify'),
      import('@bull-board/api'),
      import('@bull-board/api/bullMQAdapter'),
      import('@bull-board/fastify'),
    ])
    const queues = shards.flatMap((keys, index) =>
      QUEUES.map((name) => ({
        queue: openQueue(name, redis, keys),
        shard: shards.length > 1 ? `${index}-` : '',
      })),
    )
    const serverAdapter = new FastifyAdapter()
    serverAdapter.setBasePath(BOARD_PATH)
    createBullBoard({
      serverAdapter,
      queues: queues.map(({ queue, shard }) => {
        const adapter = new BullMQAdapter(queue, { readOnlyMode: true, prefix: shard })
        adapter.setFormatter('data', () => HIDDEN)
        adapter.setFormatter('returnValue', () => HIDDEN)
        adapter.setFormatter('progress', () => 0)
        return adapter
      }),
      options: {
        uiConfig: { boardTitle: 'byok-gateway', hideDocsLink: true, showWorkers: false, sortQueues: true },
        handlerHooks: {
          before: ({ method, route }) => ({ allow: method === 'get' && SHOWN.has(route), status: 404 }),
          after: (_context, result) => ({ ...result, body: withoutFailures(result.body) }),
        },
      },
    })
    const app = fastify({ logger: false })
    app.addHook('onRequest', async (_request, reply) => void reply.headers(HEADERS))
    app.addHook('onSend', async (_request, reply, payload) => {
      const isPage = String(reply.getHeader('content-type')).startsWith('text/html')
      return isPage ? String(payload).replaceAll(FOREIGN_LINKS, '') : payload
    })
    await app.register(serverAdapter.registerPlugin(), { prefix: BOARD_PATH })
    await app.ready()
    return { app, queues }
  }

  return {
    /** Loads it, where that is not done yet. @returns what answers requests for the page and its parts. */
    async load(): Promise<(request: IncomingMessage, response: ServerResponse) => void> {
      opened ??= open().catch((error: unknown) => {
        opened = null
        throw error
      })
      const { app } = await opened
      return (request, response) => app.routing(request, response)
    },
    async close(): Promise<void> {
      const board = await opened?.catch(() => null)
      if (!board) return
      await board.app.close()
      await Promise.all(board.queues.map(({ queue }) => queue.close()))
    },
  }
}

/** Why an entry failed may be told in words of a client's. */
function withoutFailures<Body>(body: Body): Body {
  const text = JSON.stringify(body ?? null, (key, value: unknown) => {
    if (key === 'failedReason') return value === undefined ? value : HIDDEN
    return key === 'stacktrace' ? [] : value
  })
  return JSON.parse(text) as Body // as it was, but for those texts
}
