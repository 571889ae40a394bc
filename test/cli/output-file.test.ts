import { appendFile, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { openOutputFile } from '../../cli/output-file.ts'
import { wholeLines } from '../../cli/output-lines.ts'
import { ConfigError } from '../../shared/errors.ts'

let folder: string
let file: string

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'byok-test-output-'))
  file = join(folder, 'out.jsonl')
})

afterEach(() => rm(folder, { recursive: true, force: true }))

const line = (number: number, batch = 'aa') =>
  Buffer.from(
    `${JSON.stringify({ id: `batch_req_${batch}_${number}`, custom_id: `c${number}`, response: {} })}\n`,
  )
const text = (...lines: Buffer[]) => lines.map(String).join('')

/** Adds the lines in an opening of its own, as one run of `watch` does. */
async function add(...lines: Buffer[]): Promise<number> {
  const output = await openOutputFile(file)
  try {
    await output.add(lines)
    return output.count()
  } finally {
    await output.close()
  }
}

test('each line stands there once, in the order in which it came, however often it is given', async () => {
  expect(await add(line(2), line(1), line(2))).toBe(2)
  expect(await add(line(2), line(1), line(3), Buffer.from('\n'))).toBe(3)
  expect(await readFile(file, 'utf8')).toBe(text(line(2), line(1), line(3)))
})

test('a line that was torn by a crash is cut off and comes again', async () => {
  await add(line(1))
  await appendFile(file, line(2).subarray(0, 30))
  expect(await add(line(1), line(2))).toBe(2)
  expect(await readFile(file, 'utf8')).toBe(text(line(1), line(2)))
})

test('results of another batch are not gone on with, and stay as they are', async () => {
  await add(line(1))
  await expect(add(line(2, 'bb'))).rejects.toThrow('results of another batch')
  expect(await readFile(file, 'utf8')).toBe(text(line(1)))
})

test.each([
  'some text',
  'some text\n',
  '{"custom_id":"c1"}\n',
  '{"id":"batch_req_aa_1","custom_id":"c1"}\nno json\n',
])('a file that holds something else is left alone: %j', async (content) => {
  await writeFile(file, content)
  await expect(openOutputFile(file)).rejects.toThrow(ConfigError)
  expect(await readFile(file, 'utf8')).toBe(content)
})

test('a folder, and a place that is not there, are refused in a sentence', async () => {
  await expect(openOutputFile(folder)).rejects.toThrow(ConfigError)
  await expect(openOutputFile(join(folder, 'none', 'out.jsonl'))).rejects.toThrow(
    /can't be written \(ENOENT\)/,
  )
})

test('bytes become whole lines wherever they were cut; what has no end is left out', async () => {
  const bytes = Buffer.from('ä\n\nbc\nd')
  for (const size of [1, 2, 3, 100]) {
    async function* pieces() {
      for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
    }
    const lines: string[] = []
    for await (const some of wholeLines(pieces())) lines.push(...some.map(String))
    expect(lines).toEqual(['ä\n', '\n', 'bc\n'])
  }
})
