// The least that a durable queue can do: BullMQ's own `addBulk` and `Worker`, jobs that do nothing, or carry a body, send it by
// undici, and keep the answer. Argument: Redis's URL. Told what to do by messages, answers each with the seconds from the first job added to the last one done.
import { Queue, Worker } from 'bullmq'
import { Pool } from 'undici'
import { createLog } from '../../shared/log.ts'
import { createRedis } from '../../shared/redis.ts'

/** `call`: what each job sends, and where; null = nothing. */
export type QueueOrder = {
  lines: number
  concurrency: number
  call: { url: string; body: string } | null
}

const ADDED_AT_ONCE = 1_000
const NAME = 'raw'
const headers = { 'content-type': 'application/json', authorization: 'Bearer sk-bench' }
const [, , redisUrl = ''] = process.argv
const connect = () => createRedis(redisUrl, 'blocking', createLog('warn', NAME))
const settings = { prefix: NAME, removeOnComplete: { count: 0 } }
const queue = new Queue(NAME, { connection: connect(), prefix: NAME, streams: { events: { maxLen: 1 } } })

async function run({ lines, concurrency, call }: QueueOrder): Promise<{ seconds: number }> {
  let done = 0
  const finished = Promise.withResolvers<void>()
  const { origin, pathname: path } = new URL(call?.url ?? 'http://127.0.0.1')
  const pool = new Pool(origin, { connections: concurrency })
  const process = async (job: { data: { body: string } }) => {
    if (!call) return null
    const response = await pool.request({ path, method: 'POST', headers, body: job.data.body })
    return response.body.text()
  }
  const worker = new Worker(NAME, process, {
    connection: connect(),
    concurrency,
    ...settings,
  })
  worker.on('completed', () => {
    done += 1
    if (done === lines) finished.resolve()
  })
  await worker.waitUntilReady()
  const startedAt = performance.now()
  for (let added = 0; added < lines; added += ADDED_AT_ONCE) {
    const length = Math.min(ADDED_AT_ONCE, lines - added)
    await queue.addBulk(
      Array.from({ length }, (_, at) => ({
        name: 'line',
        data: { line: added + at, body: call?.body ?? '' },
      })),
    )
  }
  await finished.promise
  const seconds = (performance.now() - startedAt) / 1000
  await worker.close()
  await pool.close()
  return { seconds }
}

process.on('message', (order: QueueOrder) => {
  void run(order).then((result) => process.send?.(result))
})
process.on('disconnect', () => process.exit())
await queue.waitUntilReady()
process.send?.({ url: '' })
