// What an upload costs the API: a file of 200 MB, then a batch's input as large, its purpose before and after it. Told are
// the time, what the API's memory grew by, the longest turn of its event loop in processor time, and the longest that a
// call of /healthz waited meanwhile (which counts what other processes take of the machine, too).
import { setTimeout as pause } from 'node:timers/promises'
import { batchLines, uploadStream, watchProcess } from '../test/support/uploading.ts'
import { createChildren } from './support/children.ts'
import { project, startGateway, startRedis, type Gateway } from './support/gateway.ts'
import { printTable } from './support/report.ts'

const MB = 1024 * 1024
const BYTES = 199 * MB
const ROUNDS = [
  { name: 'a file', purpose: 'user_data', order: 'file last' },
  { name: 'a batch, purpose first', purpose: 'batch', order: 'file last' },
  { name: 'a batch, purpose last', purpose: 'batch', order: 'file first' },
] as const

/** The longest turn of the API's event loop since it was last asked, in milliseconds of processor time. */
async function longestTurnMs({ api }: Gateway): Promise<string> {
  const told = () => [...api.logTail().matchAll(/"longest_turn_ms":([\d.]+)/g)].map(([, ms]) => ms ?? '')
  const before = told().length
  api.process.kill('SIGUSR2')
  while (told().length === before) await pause(5)
  return told().at(-1) ?? ''
}

async function measure(gateway: Gateway, round: (typeof ROUNDS)[number], bytes: number): Promise<string[]> {
  const { url, masterKey: key, api } = gateway
  await longestTurnMs(gateway)
  const from = performance.now()
  const { result, grownBytes, stallMs } = await watchProcess({ pid: api.pid, url }, () =>
    uploadStream({ url, key }, batchLines(bytes), round),
  )
  if (result.status !== 200) throw new Error(`answered ${result.status}: ${JSON.stringify(result.json)}`)
  const seconds = (performance.now() - from) / 1000
  const figures = [bytes / MB / seconds, grownBytes / MB, Number(await longestTurnMs(gateway)), stallMs]
  return [round.name, seconds.toFixed(1), ...figures.map((figure) => figure.toFixed(0))]
}

const children = createChildren()
try {
  const { url } = await startRedis(children)
  const gateway = await startGateway({
    children,
    redisUrls: { api: url, worker: url },
    workers: 0,
    env: { NODE_OPTIONS: `--import=${project('test/support/turn-watch.ts')}` },
  })
  // All its code has been used once before it is measured.
  for (const round of ROUNDS) await measure(gateway, round, 4 * MB)
  const rows: string[][] = []
  for (const round of ROUNDS) rows.push(await measure(gateway, round, BYTES))
  printTable([`${BYTES / MB} MB`, 's', 'MB/s', 'memory +MB', 'longest turn ms', '/healthz ms'], rows)
} finally {
  await children.stop()
}
