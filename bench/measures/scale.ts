// What two API and two worker processes do beside one of each, on one Redis and the processors there are, and where the next
// limit is by what a job costs each process.
import { availableParallelism } from 'node:os'
import type { Children } from '../support/children.ts'
import { startOurs } from '../support/contenders.ts'
import { project } from '../support/gateway.ts'
import { noteOf, type Figure, type Measure, type Measured, type Size } from '../support/measure.ts'
import { printSummaries } from '../support/report.ts'
import { completionBody } from '../support/requests.ts'
import { measureRounds, type Contender, type Summary } from '../support/rounds.ts'

const PROMPT_BYTES = 1_000
const CONNECTIONS = 200
const ONE = 'one API, one worker'
const TWO = 'two of each'
const US_A_SECOND = 1e6

/** Two processes of each kind beside one. */
export const scale: Measure = {
  name: 'scale',
  title: 'Two API and two worker processes beside one each',
  run,
}

async function run(children: Children, size: Size): Promise<Measured> {
  const cores = availableParallelism()
  const upstream = await children.startHelper('upstream', project('bench/processes/upstream.ts'))
  const load = await children.startHelper('load', project('bench/processes/load-generator.ts'))
  const { profileFolder } = size
  const sent = { body: completionBody(PROMPT_BYTES), promptBytes: PROMPT_BYTES, profileFolder }
  const contenders: Contender[] = [
    { ...(await startOurs(children, upstream, sent, { redisName: 'redis-one' })), name: ONE },
    { ...(await startOurs(children, upstream, sent, { redisName: 'redis-two', processes: 2 })), name: TWO },
  ]
  const summaries = await measureRounds(
    contenders,
    load,
    {
      ...(size.isQuick
        ? { seconds: 3, rounds: 1, warmupSeconds: 2 }
        : { seconds: 5, rounds: 3, warmupSeconds: 3 }),
      connections: [CONNECTIONS],
    },
    cores,
  )
  printSummaries(summaries)
  const [one, two] = [ONE, TWO].map((name) => summaries.find((summary) => summary.name === name))
  if (!one || !two) throw new Error('Nothing was measured')
  const note = noteOf(summaries)
  const model = modelOf(one)
  for (const line of describeModel(model)) console.log(`  ${line}`)
  const told = (text: string, reached: number, unit: Figure['unit']): Figure => ({
    text,
    reached,
    unit,
    aim: null,
    ...note,
  })
  return {
    figures: [
      told(
        `sync completions/s, two API and two workers over one each, ${cores} cores`,
        two.perSecond / one.perSecond,
        'x',
      ),
      told('processors in use by all that take part: one of each', saturation(one, cores) * 100, '%'),
      told('processors in use by all that take part: two of each', saturation(two, cores) * 100, '%'),
      told('model: jobs/s of one core for API, worker and Redis', model.perCore, ''),
      told('model: jobs/s at which one Redis is full', model.redisCeiling, ''),
      told('model: API processes until then', model.apis, ''),
      told('model: worker processes until then', model.workers, ''),
    ],
    details: { cores, summaries, model },
  }
}

/** Share of all processors that was used by what takes part, 0 to 1. */
function saturation({ cpuUs, perSecond }: Summary, cores: number): number {
  return (sum(cpuUs) * perSecond) / (US_A_SECOND * cores)
}

/** What follows from the processor time of a job, where nothing else is a limit: Redis and each process have one thread. */
function modelOf({ cpuUs }: Summary) {
  const of = (name: string) => cpuUs?.[name] ?? Number.NaN
  const [apiUs, workerUs, redisUs] = [of('api'), of('worker'), of('redis')]
  const redisCeiling = US_A_SECOND / redisUs
  return {
    apiUs,
    workerUs,
    redisUs,
    perCore: Math.floor(US_A_SECOND / (apiUs + workerUs + redisUs)),
    redisCeiling: Math.floor(redisCeiling),
    apis: Math.ceil((redisCeiling * apiUs) / US_A_SECOND),
    workers: Math.ceil((redisCeiling * workerUs) / US_A_SECOND),
  }
}

function describeModel(model: ReturnType<typeof modelOf>): string[] {
  const { apiUs, workerUs, redisUs, perCore, redisCeiling, apis, workers } = model
  const us = [apiUs, workerUs, redisUs].map((one) => one.toFixed(0)).join(' + ')
  return [
    `A job costs API, worker and Redis ${us} us: one core does ${perCore} a second.`,
    `One Redis is full at ${redisCeiling} a second, with ${apis} API and ${workers} worker processes, a core each.`,
  ]
}

function sum(cpuUs: Record<string, number> | null): number {
  return Object.values(cpuUs ?? {}).reduce((all, us) => all + us, 0)
}
