import { setTimeout as sleep } from 'node:timers/promises'
import type { Children } from './children.ts'
import { checkGateway, gatewayRequest, startGateway, startRedis } from './gateway.ts'
import { startRedisTap, type TappedCommand } from './redis-tap.ts'
import { printTable } from './report.ts'
import { checkOnce, type BenchRequest } from './requests.ts'
import { readScriptNames } from './script-names.ts'

/** Long beside everything else that one idle job takes, short beside the deadline of a command. */
const DELAY_MS = 100
const QUIET_MS = 5_000
const SETTLE_SCRIPT = 'settle-job'
const TARGETS = { submit: 2, job: 7, aim: 5 }

/** One command of a job: `step` counts the round trips awaited before it, itself included; 0 = not of the job's chain. */
export type Step = { step: number; atMs: number; process: string; command: string }

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
 * Counts the round trips to Redis of one idle job, those that are awaited in turn. Each process reaches Redis through a way
 * that makes every round trip 100 ms longer: a command that leaves k x 100 ms after the first one has waited for k others,
 * and commands that leave together are one step.
 */
export async function countRoundTrips(
  children: Children,
  upstream: string,
  promptBytes: number,
): Promise<RoundTrips> {
  const redis = await startRedis(children, 'redis-round-trips')
  let noted: TappedCommand[] = []
  const note = (command: TappedCommand) => noted.push(command)
  const taps = {
    api: await startRedisTap(redis.socket, 'api', note),
    worker: await startRedisTap(redis.socket, 'worker', note),
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
  for (const tap of Object.values(taps)) tap.setDelay(DELAY_MS)
  // Scripts are loaded, connections opened and caches filled by now; whatever is sent in quiet is no job's.
  await checkOnce(sync)
  noted = []
  await sleep(QUIET_MS)
  const background = new Set(noted.map((command) => shapeOf(command, names)))

  async function time(request: BenchRequest) {
    noted = []
    await checkOnce(request)
    const answeredAtMs = performance.now()
    // The worker goes on after the answer; the next job must find it idle.
    await sleep(10 * DELAY_MS)
    return chain(noted, background, names, answeredAtMs)
  }

  const submitted = await time(submit)
  const runs = [await time(sync), await time(sync), await time(sync)]
  // Anything else the machine does makes a run longer, never shorter.
  const [best = submitted] = runs.toSorted((a, b) => a.settle - b.settle || a.answer - b.answer)
  return { submit: submitted.answer, job: best.settle, answer: best.answer, steps: best.steps }
}

/** Prints the counts and the chain they were counted from. */
export function printRoundTrips({ submit, job, answer, steps }: RoundTrips): void {
  console.log(`\nRedis round trips of one idle job, those awaited in turn`)
  console.log(`  submit, until the 202: ${verdict(submit, TARGETS.submit)}`)
  console.log(`  whole job, until its settle: ${verdict(job, TARGETS.job)}, the aim is ${TARGETS.aim}`)
  console.log(`  sync call, until its caller has the answer: ${answer}`)
  printTable(
    ['step', 'ms', 'process', 'command'],
    steps.map((one) => [String(one.step || '-'), one.atMs.toFixed(0), one.process, one.command]),
  )
  console.log('  Commands of one step are under way together; "-" is sent all the time, job or not.')
  console.log('  After the first, moveToActive looks for the next job: nothing of this one waits for it.')
}

function verdict(count: number, most: number): string {
  return `${count} (at most ${most}${count > most ? ', NOT met' : ''})`
}

function chain(
  noted: readonly TappedCommand[],
  background: ReadonlySet<string>,
  names: ReadonlyMap<string, string>,
  answeredAtMs: number,
) {
  const isJobs = (command: TappedCommand) =>
    // A worker takes its entry by a command that it also sends in quiet, when its wait for one is over.
    describe(command, names).includes('moveToActive') || !background.has(shapeOf(command, names))
  const first = noted.find((command) => command.process === 'api' && isJobs(command))
  if (!first) throw new Error('No command of the API was seen for a job')
  const stepOf = (atMs: number) => Math.round((atMs - first.atMs) / DELAY_MS) + 1
  const steps = noted
    .filter(({ atMs }) => atMs >= first.atMs && atMs <= answeredAtMs)
    .map((command) => ({
      step: isJobs(command) ? stepOf(command.atMs) : 0,
      atMs: command.atMs - first.atMs,
      process: command.process,
      command: describe(command, names),
    }))
  const settle = steps.find(({ command }) => command === SETTLE_SCRIPT)
  // The answer comes when the last awaited command has come back: it is one step after that left.
  return { steps, settle: settle?.step ?? Number.NaN, answer: stepOf(answeredAtMs) - 1 }
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
