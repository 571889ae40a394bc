// The least a durable submit can do: a Fastify route that awaits one BullMQ `add` of the body. Argument: Redis's URL.
import { Queue } from 'bullmq'
import Fastify from 'fastify'
import { createLog } from '../../shared/log.ts'
import { createRedis } from '../../shared/redis.ts'

const [, , redisUrl = ''] = process.argv
const redis = createRedis(redisUrl, 'blocking', createLog('warn', 'bare-add'))
const queue = new Queue('bare', { connection: redis, prefix: 'bare', streams: { events: { maxLen: 1 } } })
const app = Fastify()

app.post('/add', async (request, reply) => {
  const job = await queue.add('job', request.body)
  return reply.code(202).send({ id: job.id, object: 'job', status: 'queued' })
})

process.send?.({ url: await app.listen({ host: '127.0.0.1', port: 0 }) })
process.on('disconnect', () => process.exit())
