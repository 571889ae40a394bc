import { setTimeout as sleep } from 'node:timers/promises'
import type { Children } from './children.ts'
import { checkGateway, gatewayRequest, startGateway, startRedis } from './gateway.ts'
import { createDepartures, startRedisTap, type TappedCommand } from './redis-tap.ts'
import { printTable } from './report.ts'
import { checkOnce, type BenchRequest } from './requests.ts'
import { readScriptNames } from './script-names.ts'

/** Long beside what a process does between an answer of Redis and its next command, short beside a command's deadline. */
const DEPARTURE_MS = 200
const QUIET_MS = 6_000
const RUNS = 3
const SETTLE_SCRIPT = 'settle-job'

/** One command of a job: `step` counts the round trips awaited before it, itself included; 0 = not of the job's chain. */
export type Step = { step: number; process: string; command: string }

export type RoundTrips = {
  /** Awaited in turn by a submit before it answers. */
  submit: number
  /** Awaited in turn by a whole job, from its first command to its settle. */
  job: number
  /** And until its caller has the answer. */
  answer: number
  steps: Step[]
}

/**
 * Counts the round trips to Redis of one idle job, those that are awaited in turn. The processes' commands do not go to Redis
 * at once but at departures, five a second, and its answers come back at once: a command that leaves k departures after
 * the first one has waited for k others, and commands that leave together are one step. However slow the machine is, a
 * process has the whole time between two departures to say what comes next.
 */
export async function countRoundTrips(
  children: Children,
  upstream: string,
  promptBytes: number,
): Promise<RoundTrips> {
  const redis = await startRedis(children, 'redis-round-trips')
  let noted: TappedCommand[] = []
  const note = (command: TappedCommand) => noted.push(command)
  const departures = createDepartures(DEPARTURE_MS)
  children.closeLast(() => departures.stop())
  const taps = {
    api: await startRedisTap(redis.socket, 'api', departures, note),
    worker: await startRedisTap(redis.socket, 'worker', departures, note),
  }
  for (const tap of Object.values(taps)) children.closeLast(() => tap.close())
  const gateway = await startGateway({
    children,
    redisUrls: { api: taps.api.url, worker: taps.worker.url },
  })
  const names = readScriptNames()
  const sync = gatewayRequest(gateway, upstream, promptBytes, '')
  const submit = gatewayRequest(gateway, upstream, promptBytes, 'respond-async')
  await checkGateway(gateway, sync)
  departures.start()
  // Scripts are loaded, connections opened and caches filled by now; whatever is sent in quiet is no job's.
  await checkOnce(sync)
  noted = []
  await sleep(QUIET_MS)
  const background = new Set(noted.map((command) => shapeOf(command, names)))

  async function time(request: BenchRequest) {
    noted = []
    await checkOnce(request)
    const answeredAt = departures.count()
    // The worker goes on after the answer; the next job must find it idle.
    await sleep(10 * DEPARTURE_MS)
    return chain(noted, background, names, answeredAt)
  }

  const submits = []
  const runs = []
  while (runs.length < RUNS) {
    submits.push(await time(submit))
    runs.push(await time(sync))
  }
  // Anything else the machine does makes a run longer, never shorter.
  const [submitted] = submits.toSorted((a, b) => a.answer - b.answer)
  const [best] = runs.toSorted((a, b) => a.settle - b.settle || a.answer - b.answer)
  if (!submitted || !best) throw new Error('No job was counted')
  return { submit: submitted.answer, job: best.settle, answer: best.answer, steps: best.steps }
}

/** Prints the counts and the chain they were counted from. */
export function printRoundTrips({ submit, job, answer, steps }: RoundTrips): void {
  console.log(`\nRedis round trips of one idle job, those awaited in turn`)
  console.log(`  submit, until the 202: ${submit}`)
  console.log(`  whole job, until its settle: ${job}`)
  console.log(`  sync call, until its caller has the answer: ${answer}`)
  printTable(
    ['step', 'process', 'command'],
    steps.map((one) => [String(one.step || '-'), one.process, one.command]),
  )
  console.log('  Commands of one step are under way together; "-" is sent all the time, job or not.')
  console.log('  After the first, moveToActive looks for the next job: nothing of this one waits for it.')
}

function chain(
  noted: readonly TappedCommand[],
  background: ReadonlySet<string>,
  names: ReadonlyMap<string, string>,
  answeredAt: number,
) {
  const isJobs = (command: TappedCommand) =>
    // A worker takes its entry by a command that it also sends in quiet, when its wait for one is over.
    describe(command, names).includes('moveToActive') || !background.has(shapeOf(command, names))
  const first = noted.find((command) => command.process === 'api' && isJobs(command))
  if (!first) throw new Error('No command of the API was seen for a job')
  const steps = noted
    .filter(({ departure }) => departure >= first.departure && departure <= answeredAt)
    .map((command) => ({
      step: isJobs(command) ? command.departure - first.departure + 1 : 0,
      process: command.process,
      command: describe(command, names),
    }))
  // The answer comes when the last awaited command has come back: it left with the last departure before that.
  const answer = answeredAt - first.departure + 1
  const settle = steps.find(({ command }) => command.startsWith(SETTLE_SCRIPT))?.step
  return { steps, settle: settle ?? Number.NaN, answer }
}

function describe({ words }: TappedCommand, names: ReadonlyMap<string, string>): string {
  const [name = '', sha = ''] = words
  const command = name.toUpperCase()
  return command.startsWith('EVAL') ? (names.get(sha) ?? `script ${sha.slice(0, 8)}`) : command
}

// Process, command, script and the key it is for, with what differs from one time to the next left out.
function shapeOf(command: TappedCommand, names: ReadonlyMap<string, string>): string {
  const what = describe(command, names)
  const key = command.words[command.words[0]?.toUpperCase().startsWith('EVAL') ? 3 : 1] ?? ''
  return `${command.process} ${what} ${key}`
}
