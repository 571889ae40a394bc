// The least that can be done with the lines of a batch: undici sends each body, so many at once, and the answers are read.
// Told what to do by messages, answers each with a LoopResult.
import { Pool } from 'undici'

/** One run over so many lines. `url` is the endpoint, `body` what each line sends. */
export type LoopOrder = { url: string; body: string; lines: number; concurrency: number }

export type LoopResult = { seconds: number; errors: number }

const headers = { 'content-type': 'application/json', authorization: 'Bearer sk-bench' }

async function run({ url, body, lines, concurrency }: LoopOrder): Promise<LoopResult> {
  const { origin, pathname: path } = new URL(url)
  const pool = new Pool(origin, { connections: concurrency })
  const startedAt = performance.now()
  let [next, errors] = [0, 0]
  const callOneByOne = async () => {
    while (next++ < lines) {
      const response = await pool.request({ path, method: 'POST', headers, body })
      const text = await response.body.text()
      if (response.statusCode !== 200 || !text.includes('"chat.completion"')) errors += 1
    }
  }
  await Promise.all(Array.from({ length: concurrency }, callOneByOne))
  const seconds = (performance.now() - startedAt) / 1000
  await pool.close()
  return { seconds, errors }
}

process.on('message', (order: LoopOrder) => {
  void run(order).then((result) => process.send?.(result))
})
process.on('disconnect', () => process.exit())
process.send?.({ url: '' })
