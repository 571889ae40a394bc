import { open, type FileHandle } from 'node:fs/promises'
import { z } from 'zod'
import { ConfigError } from '../shared/errors.ts'
import { wholeLines } from './output-lines.ts'

/** What every result begins with. */
const START = '{"id":"batch_req_'
const ResultLine = z.looseObject({ id: z.string(), custom_id: z.string() })

/**
 * A file that gathers the results of one batch, each line once, however often it is given. A file that is there is
 * gone on with: a line that was torn by a crash is cut off, and comes again.
 * @throws {ConfigError} when it can't be written, or holds something else.
 */
export async function openOutputFile(name: string) {
  const handle = await open(name, 'a+').catch((error: unknown) => refuse(name, error))
  const known = new Set<string>()
  let batch: string | null = null
  try {
    if (!(await handle.stat()).isFile())
      throw new ConfigError(`${name} is no file. Results need one to go on with.`)
    await readWhatIsThere()
  } catch (error) {
    await handle.close()
    throw error
  }

  async function readWhatIsThere(): Promise<void> {
    let endBytes = 0
    for await (const lines of wholeLines(handle.createReadStream({ start: 0, autoClose: false }))) {
      for (const line of lines) {
        endBytes += line.length
        const customId = customIdOf(line)
        if (customId !== null) known.add(customId)
      }
    }
    if (!(await isTorn(handle, endBytes))) refuseOther(name)
    await handle.truncate(endBytes)
  }

  /** Null for an empty line, which is a sign of life. */
  function customIdOf(line: Buffer): string | null {
    if (line.length <= 1) return null
    const parsed = ResultLine.safeParse(jsonOf(line))
    if (!parsed.success) refuseOther(name)
    // `batch_req_<of the batch>_<line>`
    const { id, custom_id: customId } = parsed.data
    const ofBatch = id.slice(0, id.lastIndexOf('_'))
    if (batch !== null && batch !== ofBatch) {
      throw new ConfigError(`${name} holds results of another batch. Give another file.`)
    }
    batch = ofBatch
    return customId
  }

  return {
    name,
    /** How many lines it holds. */
    count: () => known.size,

    /** Adds the lines that it does not hold yet. */
    async add(lines: readonly Buffer[]): Promise<void> {
      const fresh = new Map<string, Buffer>()
      for (const line of lines) {
        const customId = customIdOf(line)
        if (customId !== null && !known.has(customId)) fresh.set(customId, line)
      }
      if (fresh.size === 0) return
      await append(name, handle, Buffer.concat([...fresh.values()]))
      for (const customId of fresh.keys()) known.add(customId)
    },

    async close(): Promise<void> {
      await handle.sync()
      await handle.close()
    },
  }
}

export type OutputFile = Awaited<ReturnType<typeof openOutputFile>>

/** Whether what follows the last whole line, if anything, is the beginning of a result: only that may be cut off. */
async function isTorn(handle: FileHandle, fromBytes: number): Promise<boolean> {
  const { buffer, bytesRead } = await handle.read(Buffer.alloc(START.length), 0, START.length, fromBytes)
  return START.startsWith(buffer.toString('latin1', 0, bytesRead))
}

function refuseOther(name: string): never {
  throw new ConfigError(`${name} holds something else than results. Give another file.`)
}

async function append(name: string, handle: FileHandle, bytes: Buffer): Promise<void> {
  await handle.appendFile(bytes).catch((error: unknown) => refuse(name, error))
}

function refuse(name: string, error: unknown): never {
  const reason = error instanceof Error && 'code' in error ? String(error.code) : 'no reason'
  throw new ConfigError(`${name} can't be written (${reason}).`)
}

function jsonOf(line: Buffer): unknown {
  try {
    return JSON.parse(line.toString('utf8'))
  } catch {
    return undefined
  }
}
