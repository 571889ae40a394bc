import type { Server } from 'node:http'
import { LogController, type FastifyBaseLogger, type FastifyInstance, type FastifyHttpOptions } from 'fastify'
import { newRequestId } from '../shared/ids.ts'
import type { Logger } from '../shared/log.ts'
import { handleClientError, handleError } from './errors.ts'
import type { Holds } from './holds.ts'
import { UPLOAD_MS } from './receiving.ts'

const IDLE_CHECK_MS = 20
// A stopping process has told all calls what there is: whoever has not read it by then does not read.
const READ_REST_MS = 5_000
/** How long a request may take to arrive in whole. */
export const RECEIVE_MS = 60_000

export type ServerDeps = {
  log: Logger
  holds: Holds
  bodyBytesMax: number
  /**
   * How long a request may take to arrive in whole, in milliseconds; 60 s unless given. Its answer may take longer, and
   * so may an upload, as long as it goes on.
   */
  receiveMs?: number
}

/** How requests are taken in, before any route is known. */
export function serverOptions({ log, bodyBytesMax, receiveMs = RECEIVE_MS }: ServerDeps) {
  // Fastify's own lines (one a call, one a 404, one a listener) say nothing that an operator wants to read.
  const level = log.isLevelEnabled('warn') ? 'warn' : log.level
  const loggerInstance: FastifyBaseLogger = log.child({}, { level })
  return {
    loggerInstance,
    logController: new LogController({ disableRequestLogging: true }),
    bodyLimit: bodyBytesMax,
    requestTimeout: UPLOAD_MS,
    http: { headersTimeout: receiveMs, connectionsCheckingInterval: receiveMs / 12 },
    // No logger is made for each call: the few lines that there are name the request themselves.
    childLoggerFactory: (logger) => logger,
    genReqId: newRequestId,
    requestIdHeader: false,
    frameworkErrors: handleError,
    clientErrorHandler: handleClientError,
    forceCloseConnections: 'idle',
    return503OnClosing: false,
  } satisfies FastifyHttpOptions<Server>
}

/** Lets a stopping server end: calls that wait are answered with what there is, and connections do not outlive their calls. */
export function addEnd(app: FastifyInstance, holds: Holds): void {
  app.addHook('preClose', async () => {
    holds.endAll()
    // Connections whose call is answered from now on stay open for the next one, and would hold up the end.
    setInterval(() => app.server.closeIdleConnections(), IDLE_CHECK_MS).unref()
    setTimeout(() => app.server.closeAllConnections(), READ_REST_MS).unref()
  })
}
