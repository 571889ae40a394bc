import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { startProcess } from '../support/processes.ts'
import { environment } from '../support/redis-process.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const LINES = 1_000

/** Says so many things in one turn, and then something goes wrong that nobody catches. */
const SCRIPT = `
  import { runProcess } from './shared/run-process.ts'
  await runProcess(process, process.env, 'worker', async (_config, log) => {
    for (let number = 0; number < ${LINES}; number += 1) log.info({ number }, 'A line')
    setImmediate(() => { throw new Error('Nobody catches this.') })
    return async () => {}
  })
`

test('a process that ends of itself has written every line of its log, in order', async () => {
  const env = {
    ...environment(),
    REDIS_URL: 'redis://127.0.0.1:1',
    GATEWAY_ENCRYPTION_KEYS: `k1:${Buffer.alloc(32).toString('base64')}`,
    GATEWAY_ID_SECRET: 'an-id-secret-for-tests',
    GATEWAY_FILES: 'file:/nowhere',
  }
  const started = startProcess(process.execPath, ['--input-type=module', '-e', SCRIPT], {
    env,
    cwd: ROOT,
    endsWithUs: true,
  })
  expect(await started.ended()).toBe(1)
  const numbers = started
    .output()
    .split('\n')
    .filter((line) => line.includes('A line'))
    .map((line) => (JSON.parse(line) as { number: number }).number)
  expect(numbers).toEqual(Array.from({ length: LINES }, (_, number) => number))
})
