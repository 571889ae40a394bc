import { parseArgs } from 'node:util'

/**
 * Reads the command line of a benchmark.
 * @param connections What stands for `--connections` where it is not given.
 * @throws a TypeError that names an unknown option; an Error for a value that is no number.
 */
export function readOptions(connections = '50,200') {
  const { values } = parseArgs({
    options: {
      seconds: { type: 'string', default: '5' },
      rounds: { type: 'string', default: '3' },
      warmup: { type: 'string', default: '3' },
      connections: { type: 'string', default: connections },
      only: { type: 'string', default: '' },
      'prompt-bytes': { type: 'string', default: '1000' },
      'round-trips': { type: 'boolean', default: true },
      chunks: { type: 'string', default: '200' },
      intervals: { type: 'string', default: '0,20' },
      json: { type: 'string', default: '' },
      'cpu-prof': { type: 'string', default: '' },
    },
    allowNegative: true,
  })
  return {
    /** Of one round. */
    seconds: number(values.seconds),
    rounds: number(values.rounds),
    /** Seconds of unmeasured load before the first round at each number of connections. */
    warmupSeconds: number(values.warmup),
    connections: values.connections.split(',').map(number),
    /** Names of the contenders to run; empty: all. */
    only: values.only.split(',').filter((name) => name !== ''),
    promptBytes: number(values['prompt-bytes']),
    withRoundTrips: values['round-trips'],
    /** Of one stream, and milliseconds between two of them, one after the other; 0 = as fast as they can be written. */
    chunks: number(values.chunks),
    intervalsMs: values.intervals.split(',').map(number),
    jsonFile: values.json,
    /** Folder for V8 profiles of our API and worker; '' = none. */
    profileFolder: values['cpu-prof'],
  }
}

export type Options = ReturnType<typeof readOptions>

function number(text: string): number {
  const value = Number(text)
  if (!(value >= 0)) throw new Error(`${text} is no number`)
  return value
}
