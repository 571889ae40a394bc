import { randomBytes } from 'node:crypto'
import { mkdir, mkdtemp, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import fc from 'fast-check'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import {
  lineId,
  lineOfId,
  packEntry,
  partOf,
  readOrder,
  unpackEntries,
  writeOrder,
  type LineOutcome,
  type LineResult,
  type OrderEntry,
} from '../../shared/batches/batch-results.ts'
import { FileGoneError } from '../../shared/errors.ts'
import { openFileStore, type FileStore } from '../../shared/files/file-store.ts'
import { createLogParts } from '../../shared/files/log-parts.ts'
import { readResultFile } from '../../shared/batches/result-file.ts'
import { createResultLogs, type ResultLogs } from '../../shared/batches/result-log.ts'
import { createSealer } from '../../shared/seal.ts'
import { startBucket, type TestBucket } from '../support/bucket.ts'
import { collect } from '../support/bytes.ts'
import { eventually } from '../support/eventually.ts'
import { lineResult } from '../support/results.ts'

const MB = 1024 * 1024
const START = { output: 0, error: 0 }
const sealer = createSealer([{ id: 'k1', key: randomBytes(32) }])
let folder: string
let bucket: TestBucket
let store: FileStore
let logs: ResultLogs
let batch: { tenant: string; id: string }

beforeAll(async () => {
  bucket = await startBucket()
  // The SDK reads its place and keys from the environment.
  for (const [name, value] of Object.entries(bucket.env)) vi.stubEnv(name, value)
})
afterAll(async () => {
  vi.unstubAllEnvs()
  await bucket.close()
})
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'byok-test-results-'))
  use(openFileStore(`file:${folder}`))
})
afterEach(async () => {
  await store.close()
  await rm(folder, { recursive: true, force: true })
})

function use(opened: FileStore): void {
  store = opened
  logs = createResultLogs({ store, sealer })
  batch = { tenant: 'acme', id: `batch_${randomBytes(6).toString('hex')}` }
}

async function readLines(entries: readonly OrderEntry[], bytesMax?: number) {
  const results: ReturnType<typeof plain>[] = []
  for await (const result of logs.read(batch, entries, bytesMax)) results.push(plain(result))
  return results
}

// Long texts are compared as strings: far cheaper than byte by byte.
function plain({ text, ...rest }: LineResult) {
  return { ...rest, text: text.toString() }
}

async function recoverAll(log: number, from = START) {
  const found: (LineResult & { entry: OrderEntry })[] = []
  for await (const result of logs.recover(batch, log, from)) found.push(result)
  return found
}

function pathOf(part: string, log: string): string {
  return join(folder, 'batches', batch.id, part, log)
}

describe.each(['folder', 'bucket'] as const)('results in a %s', (kind) => {
  beforeEach(() => {
    if (kind === 'bucket') use(openFileStore(bucket.place, { hasEndpoint: true }))
  })

  test('every result is read as it was appended, in the order of the entries', async () => {
    const outcomes: LineOutcome[] = ['completed', 'failed', 'expired', 'cancelled']
    const given = Array.from({ length: 60 }, (_, line) =>
      lineResult(line, { outcome: outcomes[line % 4], bytes: line === 13 ? MB : line * 10 }),
    )
    const texts = given.map(plain)
    const [one, two] = [logs.open(batch, 1), logs.open(batch, 2)]
    const entries = await Promise.all(given.map((result) => (result.line % 3 ? one : two).append(result)))
    const order = [...entries.slice(30), ...entries.slice(0, 30)]
    for (const bytesMax of [1, 5_000, 10 * MB]) {
      expect(await readLines(order, bytesMax)).toEqual(order.map(({ line }) => texts[line]))
    }
    await Promise.all([one.close(), two.close()])
  })

  test('what a dead process had made durable is found from any place on, with its entries', async () => {
    const log = logs.open(batch, 7)
    const before = await log.append(lineResult(0))
    await log.append(lineResult(1, { outcome: 'failed' }))
    const from = log.positions()
    const after = [
      await log.append(lineResult(2, { bytes: 300_000 })),
      await log.append(lineResult(3)),
      await log.append(lineResult(4, { outcome: 'failed' })),
    ]
    expect((await recoverAll(7, from)).map(({ entry }) => entry)).toEqual(after)
    const all = await recoverAll(7)
    expect(all.map(({ line }) => line)).toEqual([0, 2, 3, 1, 4])
    expect(all[0]).toEqual({ ...lineResult(0), entry: before })
    expect(await recoverAll(8)).toEqual([])
    await log.close()
  })

  test('the order of an ended batch is kept as it was given', async () => {
    const packed = Buffer.concat([3, 1, 2].map((line) => packEntry(entryOf(line, 'failed'))))
    await writeOrder({ store, sealer }, batch, packed)
    expect((await readOrder({ store, sealer }, batch)).equals(packed)).toBe(true)
    await store.remove(`batches/${batch.id}/`)
    await expect(readOrder({ store, sealer }, batch)).rejects.toThrow(FileGoneError)
  })
})

function entryOf(line: number, outcome: LineOutcome, place: Partial<OrderEntry> = {}): OrderEntry {
  return { line, outcome, log: 1, offset: 0, length: 1, ...place }
}

test('an entry is 17 bytes, and holds the largest that there can be', () => {
  const largest = { log: 0xffff, offset: 2 ** 48 - 1, length: 2 ** 32 - 1 }
  const entries = [entryOf(2 ** 32 - 1, 'cancelled', largest), entryOf(0, 'completed'), entryOf(1, 'expired')]
  const packed = Buffer.concat(entries.map(packEntry))
  expect(packed).toHaveLength(3 * 17)
  expect(unpackEntries(packed)).toEqual(entries)
  expect(unpackEntries(packed.subarray(0, 40))).toEqual(entries.slice(0, 2))
})

test("a line's id is told from those of other batches, and from what is none", () => {
  const id = lineId('batch_0a1b', 49_999)
  expect(id).toBe('batch_req_0a1b_49999')
  expect(lineOfId('batch_0a1b', id)).toBe(49_999)
  for (const wrong of ['batch_req_0a1c_1', 'batch_req_0a1b_01', 'batch_req_0a1b_', 'batch_0a1b', '1']) {
    expect(lineOfId('batch_0a1b', wrong)).toBe(null)
  }
})

test('no result is readable in the store, nor moves to another line or batch', async () => {
  const log = logs.open(batch, 1)
  const one = await log.append(lineResult(1, { said: 'the answer' }))
  await log.append(lineResult(2, { said: 'the answer' }))
  await log.close()
  const path = pathOf('output', 'log-1')
  const bytes = await readFile(path)
  for (const secret of ['the answer', 'line-1', 'dep_1']) expect(bytes.includes(secret)).toBe(false)

  await expect(readLines([{ ...one, line: 2 }])).rejects.toThrow(FileGoneError)
  bytes.writeUInt32BE(2, 4)
  await writeFile(path, bytes)
  await expect(readLines([{ ...one, line: 2 }])).rejects.toThrow('does not open here')

  const other = { ...batch, id: 'batch_other' }
  await mkdir(join(folder, 'batches/batch_other/output'), { recursive: true })
  await writeFile(join(folder, 'batches/batch_other/output/log-1'), bytes)
  await expect(collect(readResultFile(logs, other, [one]))).rejects.toThrow()
})

test('results that were removed are said to be gone', async () => {
  const log = logs.open(batch, 1)
  const one = await log.append(lineResult(1))
  await log.close()
  await store.remove(`batches/${batch.id}/output/`)
  await expect(readLines([one])).rejects.toThrow(FileGoneError)
})

test('after an append that failed, the same result goes to a further log, and is recovered from there', async () => {
  const log = logs.open(batch, 1)
  const taken = pathOf('output', 'log-1')
  await mkdir(dirname(taken), { recursive: true })
  await writeFile(taken, "another's")
  const failed = await Promise.allSettled([log.append(lineResult(1)), log.append(lineResult(2))])
  expect(failed.map(({ status }) => status)).toEqual(['rejected', 'rejected'])

  const from = log.positions()
  const first = await eventually('the store is tried again', () => log.append(lineResult(1)), {
    everyMs: 100,
  })
  const again = [first, await log.append(lineResult(2))]
  await log.close()
  expect(await readLines(again)).toEqual([plain(lineResult(1)), plain(lineResult(2))])
  for (const start of [START, from]) {
    expect((await recoverAll(1, start)).map((found) => found.entry)).toEqual(again)
  }
  expect(await readFile(taken, 'utf8')).toBe("another's")
})

test('a torn record, or one that was never written, ends what is recovered', async () => {
  const log = logs.open(batch, 1)
  const whole = [await log.append(lineResult(1)), await log.append(lineResult(2))]
  const torn = await log.append(lineResult(3, { bytes: 1_000 }))
  await log.close()
  const path = pathOf('output', 'log-1')
  const { size } = await stat(path)
  for (const cut of [size - 1, torn.offset + 9, torn.offset + 8, torn.offset + 3, torn.offset]) {
    await truncate(path, cut)
    expect((await recoverAll(1)).map((found) => found.entry)).toEqual(whole)
  }
  // As a file system leaves it whose size was written before its bytes.
  await truncate(path, size)
  expect((await recoverAll(1)).map((found) => found.entry)).toEqual(whole)
})

test('lines of several processes, duplicates and torn ends: each is read once, and ranges make up the whole', async () => {
  const append = fc.record({
    log: fc.integer({ min: 1, max: 3 }),
    line: fc.nat(12),
    outcome: fc.constantFrom<LineOutcome>('completed', 'completed', 'failed', 'expired'),
    bytes: fc.nat(6_000),
  })
  const property = fc.asyncProperty(
    fc.array(append, { maxLength: 40 }),
    fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 4 }),
    fc.integer({ min: 1, max: 20_000 }),
    fc.nat(40),
    async (appends, cuts, bytesMax, tornBytes) => {
      batch = { ...batch, id: `batch_${randomBytes(6).toString('hex')}` }
      const opened = [1, 2, 3].map((number) => logs.open(batch, number))
      const settled = new Map<number, { entry: OrderEntry; result: LineResult }>()
      for (const [number, { log, line, outcome, bytes }] of appends.entries()) {
        const result = lineResult(line, { outcome, bytes, said: `of append ${number}` })
        const made = await opened[log - 1]?.append(result)
        if (made && !settled.has(line)) settled.set(line, { entry: made, result })
      }
      await Promise.all(opened.map((log) => log.close()))
      // The last process died while it wrote.
      if (appends.some(({ log, outcome }) => log === 3 && outcome === 'completed')) {
        await writeFile(pathOf('output', 'log-3'), randomBytes(tornBytes), { flag: 'a' })
      }

      const order = [...settled.values()]
      const entries = order.map(({ entry }) => entry)
      expect(await readLines(entries, bytesMax)).toEqual(order.map(({ result }) => plain(result)))
      const recovered = await recoverAll(3)
      const ofThird = appends.filter(({ log }) => log === 3)
      const inParts = ['output', 'error'].flatMap((part) =>
        ofThird.flatMap(({ line, outcome }) => (partOf(outcome) === part ? [line] : [])),
      )
      expect(recovered.map(({ line }) => line)).toEqual(inParts)

      for (const part of ['output', 'error'] as const) {
        const own = order.filter(({ result }) => partOf(result.outcome) === part)
        const places = own.map(({ entry }) => entry)
        const whole = Buffer.concat(own.map(({ result }) => result.text))
        expect((await collect(readResultFile(logs, batch, places))).equals(whole)).toBe(true)
        const bounds = [0, ...cuts.map((cut) => Math.floor(cut * whole.length)), whole.length].toSorted(
          (a, b) => a - b,
        )
        const ranges = await Promise.all(
          bounds.map((from, at) =>
            collect(readResultFile(logs, batch, places, { from, to: bounds[at + 1] })),
          ),
        )
        expect(Buffer.concat(ranges).equals(whole)).toBe(true)
      }
    },
  )
  await fc.assert(property, { numRuns: 60 })
})

test('a reader who does not go on holds a few results, however many there are', async () => {
  const log = logs.open(batch, 1)
  const lines = Array.from({ length: 40 }, (_, line) => lineResult(line, { bytes: 100_000 }))
  const entries = await Promise.all(lines.map(log.append))
  await log.close()
  let readBytes = 0
  const counting: FileStore = {
    ...store,
    async *readLog(name, range) {
      for await (const bytes of store.readLog(name, range)) {
        readBytes += bytes.length
        yield bytes
      }
    },
  }
  const reading = createResultLogs({ store: counting, sealer }).read(batch, entries, 250_000)
  await reading.next()
  expect(readBytes).toBeLessThan(300_000)
  await reading.return(undefined)
})

test('a store that takes nothing for days costs a few names of logs', async () => {
  vi.useFakeTimers({ toFake: ['performance'] })
  const names = new Set<string>()
  const refusing: FileStore = {
    ...store,
    openLog(name) {
      names.add(name)
      return { position: () => 0, append: () => Promise.reject(new Error('full')), close: async () => {} }
    },
  }
  const log = createResultLogs({ store: refusing, sealer }).open(batch, 1)
  for (let second = 0; second < 1_000; second++) {
    await expect(log.append(lineResult(0))).rejects.toThrow()
    vi.advanceTimersByTime(1_000)
  }
  vi.useRealTimers()
  // 65,536 of them must be enough for seven days.
  expect(names.size).toBeLessThan((1_000 * 65_536) / (7 * 86_400))
})

test('what is known of the parts of logs has an end, however long they are', async () => {
  const asked: (string | undefined)[] = []
  const parts = createLogParts(async function* (log, after) {
    asked.push(after)
    if (after === undefined)
      yield Array.from({ length: 120_000 }, (_, at) => ({
        name: `${log}${at.toString(16).padStart(12, '0')}`,
        bytes: 1,
      }))
  })
  const read = async (log: string) => {
    for await (const { start } of parts.between(log, 119_999, 120_001)) expect(start).toBe(119_999)
  }
  for (const log of ['one', 'one', 'two', 'one']) await read(log)
  expect(asked.map((after) => after === undefined)).toEqual([true, false, true, true])
})
