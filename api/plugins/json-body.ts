import type { FastifyInstance } from 'fastify'
import { parseClientJson } from '../../shared/client-json.ts'
import { hashBody } from '../same-call.ts'

/**
 * Takes JSON bodies and nothing else. An empty body is no body (Python's SDK sends the content type with every
 * POST), malformed JSON is a 400 with its position, and `__proto__` keys and bottomless nesting are refused.
 */
export function addJsonBody(app: FastifyInstance): void {
  app.removeAllContentTypeParsers()
  app.decorateRequest('bodyHash', null)
  app.addContentTypeParser('application/json', { parseAs: 'string' }, (request, text, done) => {
    if (text.length === 0) return done(null, undefined)
    try {
      request.bodyHash = hashBody(request, text.toString())
      return done(null, parseClientJson(text.toString(), 'The body'))
    } catch (error) {
      return done(error as Error, undefined)
    }
  })
}
