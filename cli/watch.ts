import { setTimeout as sleep } from 'node:timers/promises'
import { resolve } from 'node:path'
import { ConfigError, type GatewayError } from '../shared/errors.ts'
import { Batch } from '../shared/schemas/batch.ts'
import { quote } from './banner.ts'
import { describeEnd, exitCodeOf, linesOf } from './batch-outcome.ts'
import type { ClientSettings } from './client-settings.ts'
import { createGatewayClient, persist, type GatewayClient } from './gateway-client.ts'
import { openOutputFile, type OutputFile } from './output-file.ts'
import { wholeLines } from './output-lines.ts'
import { createDisplay, type ProgressDisplay } from './progress-display.ts'
import { createPace, hasEnded, linesDone, viewOf } from './progress.ts'
import { INTERRUPTED, type Terminal } from './terminal.ts'

/** Seconds a look at the batch waits for its end: how often a bar moves, and how often a line may be due. */
const LOOK_S = { bar: 1, lines: 5 }
/** Between two looks, or two tries of a stream, also when they are answered at once. */
const LOOK_MS_MIN = 200

/** `output`, `errors`: files that gather the results as lines finish. */
export type WatchOptions = { output?: string; errors?: string; json?: boolean }

type Part = 'output' | 'error'
type Watch = {
  id: string
  client: GatewayClient
  /** Repeats what a gateway that restarts could not answer. */
  keepOn: <T>(work: () => Promise<T>) => Promise<T>
}

/**
 * Watches a batch to its end, and follows its results into files. A gateway that goes away is waited for. Ctrl-C ends the
 * watching, not the batch, and says how to go on.
 * @returns the exit code by the batch's outcome
 */
export async function watch(
  id: string,
  options: WatchOptions,
  { settings, terminal }: { settings: ClientSettings; terminal: Terminal },
): Promise<number> {
  const files = await openFiles(options)
  const stopping = new AbortController()
  const client = createGatewayClient(settings, AbortSignal.any([terminal.signal, stopping.signal]))
  const display = options.json ? silent(terminal) : createDisplay(terminal)
  const tasks: Promise<unknown>[] = []
  try {
    // The first look is not repeated: a wrong id, key or address is said at once.
    const first = await readBatch(client, id)
    const one = { id, client, keepOn: keepingOn(client, display) }
    const ended = watchToEnd(first, one, display, terminal.stdout.isTTY ? LOOK_S.bar : LOOK_S.lines)
    const followed = files.map(async ([part, file]) => {
      // Only its end knows the order of the input.
      if (first.ordered_output) await ended
      return follow(part, file, one)
    })
    tasks.push(ended, ...followed)
    const batch = await ended
    const notes = await Promise.all(followed)
    display.stop()
    for (const line of options.json ? [] : describeEnd(batch)) terminal.say(line)
    for (const note of notes) if (note !== null) terminal.warn(note)
    if (options.json) terminal.print(`${JSON.stringify(batch, null, 2)}\n`)
    return exitCodeOf(batch)
  } catch (error) {
    if (!terminal.signal.aborted) throw error
    display.stop()
    terminal.warn(`${id} goes on without you. Watch it again:\n  ${commandOf(id, options)}`)
    return INTERRUPTED
  } finally {
    stopping.abort()
    display.stop()
    await Promise.allSettled(tasks)
    for (const [, file] of files) await file.close()
  }
}

/** A batch as it stands, or as it ends within some seconds. */
export async function readBatch(client: GatewayClient, id: string, waitS = 0): Promise<Batch> {
  const query = waitS > 0 ? `?wait=${waitS}` : ''
  return Batch.parse(await client.call('GET', `/v1/batches/${encodeURIComponent(id)}${query}`))
}

/** What is typed to go on watching. */
export function commandOf(id: string, { output, errors, json }: WatchOptions): string {
  const files = [
    ...(output === undefined ? [] : [`--output ${quote(output)}`]),
    ...(errors === undefined ? [] : [`--errors ${quote(errors)}`]),
    ...(json ? ['--json'] : []),
  ]
  return ['byok-gateway watch', quote(id), ...files].join(' ')
}

async function openFiles({ output, errors }: WatchOptions): Promise<[Part, OutputFile][]> {
  if (output !== undefined && errors !== undefined && resolve(output) === resolve(errors)) {
    throw new ConfigError('Give --output and --errors two different files.')
  }
  const files: [Part, OutputFile][] = []
  if (output !== undefined) files.push(['output', await openOutputFile(output)])
  if (errors !== undefined) files.push(['error', await openOutputFile(errors)])
  return files
}

function silent({ warn }: Terminal): ProgressDisplay {
  return { show() {}, say: warn, stop() {} }
}

/** Says once that the gateway is away, and once that it is back, however many wait for it. */
function keepingOn({ signal }: GatewayClient, display: ProgressDisplay): Watch['keepOn'] {
  let isAway = false
  const onWait = (error: GatewayError) => {
    if (!isAway) display.say(`${error.message} Trying again.`)
    isAway = true
  }
  return async (work) => {
    const value = await persist(work, { signal, onWait, giveUpMs: Infinity })
    if (isAway) display.say('The gateway is back.')
    isAway = false
    return value
  }
}

async function watchToEnd(
  first: Batch,
  { id, client, keepOn }: Watch,
  display: ProgressDisplay,
  lookS: number,
): Promise<Batch> {
  const pace = createPace()
  for (let batch = first; ;) {
    pace.add(performance.now(), linesDone(batch))
    display.show(viewOf(batch, pace))
    if (hasEnded(batch)) return batch
    const pause = sleep(LOOK_MS_MIN, undefined, { signal: client.signal })
    const [next] = await Promise.all([keepOn(() => readBatch(client, id, lookS)), pause])
    batch = next
  }
}

/**
 * Follows one part of the results until the file has all of it.
 *
 * The gateway gives a part from its start each time, and the file drops what it has. A stream that comes to its end says
 * nothing by that, since a gateway that stops ends its streams too: what was begun after the batch's end is complete, and
 * so is a file with as many lines as the batch counts.
 * @returns what is wrong with the number of lines at the end; null when nothing is
 */
async function follow(part: Part, file: OutputFile, { id, client, keepOn }: Watch): Promise<string | null> {
  for (;;) {
    const batch = await keepOn(() => readBatch(client, id))
    const isOver = hasEnded(batch)
    if (isOver && file.count() === linesOf(batch, part)) return null
    const query = `kind=${part}${isOver ? '' : '&follow=true'}`
    await keepOn(() => pull(`/v1/batches/${encodeURIComponent(id)}/output?${query}`))
    if (!isOver) {
      await sleep(LOOK_MS_MIN, undefined, { signal: client.signal })
      continue
    }
    const [has, should] = [file.count(), linesOf(batch, part)]
    return has === should ? null : `${file.name} holds ${has} lines, but the batch counts ${should}.`
  }

  async function pull(path: string): Promise<void> {
    for await (const lines of wholeLines(client.read(path))) await file.add(lines)
  }
}
