// The least a proxy can do: Fastify takes the bytes, undici sends them on, the answer goes back, streams as they come. Argument: the upstream.
import Fastify from 'fastify'
import { Pool } from 'undici'

const [, , upstream = ''] = process.argv
const pool = new Pool(upstream)
const app = Fastify()
app.removeAllContentTypeParsers()
app.addContentTypeParser('application/json', { parseAs: 'buffer' }, (_request, body, done) =>
  done(null, body),
)

app.post<{ Body: Buffer }>('/v1/chat/completions', async (request, reply) => {
  const headers = { 'content-type': 'application/json', authorization: request.headers.authorization }
  const path = '/v1/chat/completions'
  const response = await pool.request({ path, method: 'POST', headers, body: request.body })
  const type = response.headers['content-type'] ?? 'application/json'
  reply.code(response.statusCode).header('content-type', type)
  if (type === 'text/event-stream') return reply.send(response.body)
  return Buffer.from(await response.body.arrayBuffer())
})

process.send?.({ url: await app.listen({ host: '127.0.0.1', port: 0 }) })
process.on('disconnect', () => process.exit())
