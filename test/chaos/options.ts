import { parseArgs } from 'node:util'
import { LONG_TIMES, SHORT_TIMES } from './fleet.ts'
import type { Run } from './scenario.ts'

export const USAGE = `npm run chaos -- [options]
  --seed 1         what is sent and broken, and in which order
  --only a,b       scenarios by name; all of them unless given
  --jobs 0         goes on after a first round until so many jobs were accepted (long form: 100000)
  --minutes 0      and so many minutes are over (long form: 60), or twice as many
  --rate 0         jobs a second; 0: 60, or what --jobs takes in --minutes
  --short          short times and few faults, as in the tests
  --redis file     the server to use (durability: fsync takes Valkey, or Redis 7.2); whatever is found unless given
  --json file      the result as JSON
  --verbose        says what happens, while it does
  --list           says which scenarios there are`

/** @throws a TypeError that names an unknown option; an Error for a value that is no number. */
export function readOptions(args: readonly string[]) {
  const { values } = parseArgs({
    args: [...args],
    options: {
      seed: { type: 'string', default: '1' },
      only: { type: 'string', default: '' },
      jobs: { type: 'string', default: '0' },
      minutes: { type: 'string', default: '0' },
      rate: { type: 'string', default: '0' },
      short: { type: 'boolean', default: false },
      redis: { type: 'string', default: '' },
      json: { type: 'string', default: '' },
      verbose: { type: 'boolean', default: false },
      list: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  })
  const [jobs, minutes, rate] = [number(values.jobs), number(values.minutes), number(values.rate)]
  return {
    only: values.only.split(',').filter((name) => name !== ''),
    jobs,
    minutes,
    jsonFile: values.json,
    isList: values.list,
    isHelp: values.help,
    run: {
      ...runOf({ seed: number(values.seed), isLong: !values.short, rate: rate || rateOf(jobs, minutes) }),
      redisServer: values.redis || null,
      tell: values.verbose ? (text: string) => void process.stderr.write(`${text}\n`) : undefined,
    },
  }
}

export type Options = ReturnType<typeof readOptions>

/** How a run is played: as on a real installation, or in a tenth of the time. */
export function runOf({ seed, isLong, rate }: Pick<Run, 'seed' | 'isLong' | 'rate'>): Run {
  return { seed, isLong, rate, times: isLong ? LONG_TIMES : SHORT_TIMES, calmMs: isLong ? 4_000 : 700 }
}

// A batch is one order of many lines, and there is no load while a scenario is looked at.
function rateOf(jobs: number, minutes: number): number {
  return jobs > 0 && minutes > 0 ? Math.max(20, jobs / (minutes * 60)) : 60
}

function number(text: string): number {
  const value = Number(text)
  if (!(value >= 0)) throw new Error(`${text} is no number`)
  return value
}
