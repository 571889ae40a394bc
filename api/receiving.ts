import type { IncomingMessage, ServerResponse } from 'node:http'
import type { FastifyInstance } from 'fastify'
import { handleClientError } from './errors.ts'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Its body may take as long as it likes, within `UPLOAD_MS`, as long as it goes on. */
    isUpload?: boolean
  }
}

/** How long any request may take to arrive. */
export const UPLOAD_MS = 3_600_000

type Receiving = { untilMs: number; bytesRead: number; isUpload: boolean; response: ServerResponse }

/**
 * Gives up requests whose body does not come to its end in time with a 408, and uploads that stand still for as long.
 * Node has one limit for all requests alike.
 */
export function addReceiveLimit(app: FastifyInstance, receiveMs: number): void {
  const open = new Map<IncomingMessage, Receiving>()
  const timer = setInterval(() => {
    for (const [request, receiving] of open) look(request, receiving)
  }, receiveMs / 12).unref()
  app.addHook('onClose', async () => clearInterval(timer))

  app.addHook('onRequest', (request, reply, done) => {
    const { raw } = request
    if (hasBody(raw)) {
      const isUpload = request.routeOptions.config.isUpload === true
      const untilMs = performance.now() + receiveMs
      open.set(raw, { untilMs, bytesRead: 0, isUpload, response: reply.raw })
    }
    done()
  })
  app.addHook('preValidation', (request, _reply, done) => {
    if (request.routeOptions.config.isUpload !== true) open.delete(request.raw)
    done()
  })

  function look(request: IncomingMessage, receiving: Receiving): void {
    const { socket } = request
    const nowMs = performance.now()
    const hasMoved = socket.bytesRead > receiving.bytesRead
    if (receiving.isUpload && hasMoved && !receiving.response.headersSent) {
      receiving.untilMs = nowMs + receiveMs
      receiving.bytesRead = socket.bytesRead
    }
    if (request.complete || request.destroyed) open.delete(request)
    else if (nowMs > receiving.untilMs) {
      open.delete(request)
      // What was answered before its end needs no second answer.
      if (receiving.response.headersSent) socket.destroy()
      else
        handleClientError(Object.assign(new Error('too slow'), { code: 'ERR_HTTP_REQUEST_TIMEOUT' }), socket)
    }
  }
}

function hasBody({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] !== undefined || (headers['content-length'] ?? '0') !== '0'
}
