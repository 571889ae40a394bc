import { parseArgs } from 'node:util'

/**
 * Reads the command line of the benchmark of batches.
 * @throws a TypeError that names an unknown option; an Error for a value that is no number.
 */
export function readBatchOptions() {
  const { values } = parseArgs({
    options: {
      lines: { type: 'string', default: '5000' },
      rounds: { type: 'string', default: '3' },
      concurrency: { type: 'string', default: '100' },
      delay: { type: 'string', default: '0,20' },
      sizes: { type: 'string', default: '5000,10000,25000,50000' },
      waiting: { type: 'string', default: '50000' },
      'waiting-batches': { type: 'string', default: '10' },
      only: { type: 'string', default: '' },
      'prompt-bytes': { type: 'string', default: '1000' },
      json: { type: 'string', default: '' },
      'cpu-prof': { type: 'string', default: '' },
    },
  })
  const part = (name: string) => values.only === '' || values.only.split(',').includes(name)
  return {
    /** Of one batch, and calls or jobs of one round of what it is compared with. */
    lines: number(values.lines),
    rounds: number(values.rounds),
    /** Calls under way at once. */
    concurrency: number(values.concurrency),
    /** Milliseconds in which the upstream answers, one after the other. */
    delaysMs: numbers(values.delay),
    /** Lines of the batches by which growth is seen. */
    sizes: numbers(values.sizes),
    /** Lines of a batch that waits, and how many such batches. */
    waitingLines: number(values.waiting),
    waitingBatches: number(values['waiting-batches']),
    /** Which parts are measured. */
    parts: { speed: part('speed'), gateway: part('gateway'), growth: part('growth'), memory: part('memory') },
    promptBytes: number(values['prompt-bytes']),
    jsonFile: values.json,
    /** Folder for V8 profiles of our API and worker; '' = none. */
    profileFolder: values['cpu-prof'],
  }
}

export type BatchOptions = ReturnType<typeof readBatchOptions>

function numbers(text: string): number[] {
  return text
    .split(',')
    .filter((one) => one !== '')
    .map(number)
}

function number(text: string): number {
  const value = Number(text)
  if (!(value >= 0)) throw new Error(`${text} is no number`)
  return value
}
