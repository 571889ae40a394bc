import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { describe, expect, test } from 'vitest'
import { parseClientJson } from '../../shared/client-json.ts'
import { createLineCutter } from '../../shared/batches/line-cutter.ts'
import { readUnkept, splitLine } from '../../shared/batches/line-credentials.ts'
import { careOf } from '../../shared/batches/line-fields.ts'
import { openInputStage } from '../support/batch-input.ts'

const SECRET = 'S3CR3T'

/** Processor milliseconds that `work` takes of this thread. What others take of a busy machine is not in it. */
function cpuMs(work: () => unknown): number {
  const before = process.threadCpuUsage()
  work()
  const { user, system } = process.threadCpuUsage(before)
  return (user + system) / 1000
}

setFlagsFromString('--expose-gc')
const collectGarbage: unknown = runInNewContext('gc')

/** What is held once all is let go of that nobody needs. */
function heldBytes(): number {
  if (typeof collectGarbage === 'function') collectGarbage()
  const { heapUsed, arrayBuffers } = process.memoryUsage()
  return heapUsed + arrayBuffers
}

/** The least that stays after `work`, of three times: what else runs in this process takes memory of its own. */
function grownBytes(work: () => unknown): number {
  const grown = [1, 2, 3].map(() => {
    const before = heldBytes()
    const made = work()
    const after = heldBytes()
    expect(made).toBeDefined()
    return after - before
  })
  return Math.min(...grown)
}

function readLongNames(): boolean {
  for (let number = 0; number < 30; number += 1) careOf(`${number}`.padEnd(1_000_000, 'x'))
  return true
}

/** A body of a megabyte that is made of as many fields as fit into it. */
function manyFields(seed: string): Buffer {
  const fields = Array.from({ length: 80_000 }, (_, index) => `"${seed}${index.toString(36)}":1`)
  return Buffer.from(`{"custom_id":"a","body":{${fields.join(',')}}}`)
}

describe('a line that is made to cost time or memory', () => {
  test('by tens of thousands of fields is looked at no further, and not kept', () => {
    const text = manyFields('x')
    expect(readUnkept(splitLine(text).stored)?.code).toBe('too_many_fields')
    const again = manyFields('y')
    // Its JSON is read; nothing is done for each field.
    const parseMs = cpuMs(() => JSON.parse(manyFields('z').toString()))
    expect(cpuMs(() => splitLine(again))).toBeLessThan(2 * parseMs + 50)
  })

  test('by the same field tens of thousands of times is not kept either', () => {
    for (const field of ['"api_key":1', '"fallbacks":["a"]', '"body":{"a":1}']) {
      const text = Buffer.from(`{"custom_id":"a",${`${field},`.repeat(50_000)}"body":{}}`)
      expect(readUnkept(splitLine(text).stored)?.code).toBe('too_many_fields')
    }
  })

  test('by the length of a name leaves nothing of it in memory', () => {
    expect(grownBytes(readLongNames)).toBeLessThan(8_000_000)
  })

  test('by coming byte by byte is held as what it is', () => {
    const byte = Buffer.from('x')
    const cut = () => {
      const cutter = createLineCutter(1_000_000)
      for (let number = 0; number < 100_000; number += 1) cutter.cut(byte).next()
      return cutter
    }
    expect(cut().rest()).toHaveLength(100_000)
    // An object for each of them were thirty times as much as they are.
    expect(grownBytes(cut)).toBeLessThan(2_700_000)
  })

  test('of as many fields as requests have, and more, is kept', () => {
    const fields = Array.from({ length: 900 }, (_, index) => `"x${index}":1`)
    const text = Buffer.from(`{"custom_id":"a","body":{${fields.join(',')}}}`)
    expect(splitLine(text).stored).toBe(text)
  })
})

test.each([
  `{"body":{"default_litellm_params":{"api_key":"${SECRET}"}}}`,
  `{"body":{"model_info":{"key":"${SECRET}"}}}`,
  `{"body":{"${'x'.repeat(300)}_api_key":"${SECRET}"}}`,
])('a setting of a config that may hold a key, and is refused later, does not lie about: %s', (text) => {
  expect(splitLine(Buffer.from(text)).stored.toString()).not.toContain(SECRET)
})

test('a body of millions of values is refused before it is read', () => {
  for (const value of ['{}', '1', '[]', '"a"']) {
    const text = `{"x":[${`${value},`.repeat(2_000_100)}1]}`
    const attempt = () => parseClientJson(text, 'The body')
    expect(attempt).toThrow('more than 2000000 values')
  }
  expect(parseClientJson(`["${',{'.repeat(2_000_100)}"]`, 'The body')).toHaveLength(1)
})

describe('blank lines', () => {
  test('are cut without memory for each', () => {
    const cutter = createLineCutter(1_000)
    const [first, ...others] = cutter.cut(Buffer.from('\n'.repeat(50)))
    expect(others.every((line) => line === first)).toBe(true)
  })

  test('without end are refused, and leave nothing', async () => {
    const stage = await openInputStage()
    try {
      for (const blank of ['\n', ' \r\n']) {
        await expect(stage.upload(blank.repeat(110_000))).rejects.toMatchObject({
          status: 400,
          code: 'too_many_blank_lines',
        })
      }
      expect((await stage.objects()).size).toBe(0)
    } finally {
      await stage.close()
    }
  })
})
