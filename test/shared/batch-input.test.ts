import { randomBytes } from 'node:crypto'
import * as fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { createBatchInput, writeBatchInput } from '../../shared/batches/batch-input.ts'
import type { FaultyLine, InputLine } from '../../shared/batches/batch-lines.ts'
import { TooLargeError } from '../../shared/errors.ts'
import { readUnkept } from '../../shared/batches/line-credentials.ts'
import { createSealer } from '../../shared/seal.ts'
import { contentName, readSealedFile } from '../../shared/files/sealed-file.ts'
import {
  inChunks,
  inputLineText,
  listOf,
  openInputStage,
  SECRET,
  type InputStage,
} from '../support/batch-input.ts'
import { collect } from '../support/bytes.ts'

let stage: InputStage
beforeEach(async () => {
  stage = await openInputStage()
})
afterEach(() => stage.close())

type Uploaded = Awaited<ReturnType<InputStage['upload']>>

async function contentOf({ file }: Uploaded): Promise<string> {
  return (await collect(readSealedFile(stage.store, { ...file, id: file.fileId }, stage.sealer))).toString()
}

/** The lines as texts with their rows and credentials. */
async function all({ file, keysOf }: Uploaded, keys = keysOf) {
  const lines = await listOf(stage.input.all(file, keys))
  return lines.map(({ text, ...rest }) => ({ ...rest, text: text.toString() }))
}

function lineOf(number: number, body: Record<string, unknown> = {}): string {
  const whole = { model: 'm', messages: [{ role: 'user', content: `prompt ${number}` }], ...body }
  return JSON.stringify({ custom_id: `r${number}`, url: '/v1/chat/completions', body: whole })
}

/** Lines that can be run. */
async function readable(lines: AsyncIterable<InputLine | FaultyLine>): Promise<InputLine[]> {
  return (await listOf(lines)).map((line) => {
    if ('fault' in line) throw line.fault
    return line
  })
}

function told(line: InputLine) {
  return { line: line.line, customId: line.customId, key: line.body['api_key'] ?? null }
}

describe('an input', () => {
  test('shows none of its credentials, and reads back line by line to the byte', async () => {
    const batches = fc.array(fc.oneof(inputLineText, fc.constantFrom('', '  ', '\t\r')), { maxLength: 12 })
    const ends = fc.constantFrom('\n', '\r\n')
    await fc.assert(
      fc.asyncProperty(
        batches,
        ends,
        fc.boolean(),
        fc.integer({ min: 1, max: 300 }),
        async (lines, end, isEnded, size) => {
          const text = lines.join(end) + (isEnded ? end : '')
          const uploaded = await stage.upload(text, { chunkBytes: size })
          expect(await contentOf(uploaded)).not.toContain(SECRET)
          const rows = text.split('\n').map((one, index) => ({ row: index + 1, text: one }))
          const expected = rows.filter((one) => one.text.trim() !== '')
          expect((await all(uploaded)).map(({ row, text: read }) => ({ row, text: read }))).toEqual(expected)
          expect(uploaded.lines).toBe(expected.length)
        },
      ),
      { numRuns: 50 },
    )
  })

  test('is all of it, but for the credentials, byte for byte as it came', async () => {
    const text = `\uFEFF\n${lineOf(0)}\r\n\n  ${lineOf(1, { api_key: 'sk-one', seed: 7 })}  \n\t\n`
    const uploaded = await stage.upload(text)
    expect(await contentOf(uploaded)).toBe(text.replace('"sk-one"', '"[erased]"'))
    expect(uploaded.bytes).toBe(Buffer.byteLength(text) + '[erased]'.length - 'sk-one'.length)
    expect((await all(uploaded)).map(({ row }) => row)).toEqual([2, 4])
  })

  test('keeps large numbers, and knows whose credentials a line has', async () => {
    const big =
      '{"custom_id":"b","user_config":{"model_list":[]},"body":{"model":"m","seed":12345678901234567890}}'
    const { file, keysOf } = await stage.upload(`${lineOf(0)}\n${big}`)
    const [plain, own] = await readable(stage.input.read(file, [0, 1], keysOf))
    expect(plain).toMatchObject({ line: 0, customId: 'r0', credentials: 'none', settings: {} })
    expect(own).toMatchObject({
      line: 1,
      customId: 'b',
      url: null,
      settings: { user_config: { model_list: [] } },
    })
    expect(own?.credentials).toBe('own')
    expect(JSON.stringify(own?.body)).toBe('{"model":"m","seed":12345678901234567890}')
  })

  test('gives a line that can not be run with what is wrong, and the lines behind it', async () => {
    const bad = JSON.stringify({ custom_id: 'bad', url: '/v1/chat/completions', body: 7 })
    const { file, keysOf } = await stage.upload(`${lineOf(0)}\n${bad}\n${lineOf(2)}`)
    const read = await listOf(stage.input.read(file, [0, 1, 2], keysOf))
    expect(read.map(({ customId }) => customId)).toEqual(['r0', 'bad', 'r2'])
    expect(read[1]).toMatchObject({ line: 1, fault: { param: 'body' } })
  })

  test('lies in the store without a readable prompt, key or custom_id', async () => {
    await stage.upload(Array.from({ length: 50 }, (_, one) => lineOf(one, { api_key: SECRET })).join('\n'))
    const objects = await stage.objects()
    expect([...objects.keys()].toSorted()).toEqual(
      ['content', 'credentials', 'index'].map((name) => `files/file-1/${name}`),
    )
    for (const bytes of objects.values())
      expect(bytes.toString('latin1')).not.toMatch(/S3CR3T|prompt|custom_id|erased/)
  })

  test('without credentials has no keys and no object for them', async () => {
    const { keys } = await stage.upload(`${lineOf(0)}\n`)
    expect(keys).toBeNull()
    expect([...(await stage.objects()).keys()]).not.toContain('files/file-1/credentials')
  })

  test('is erased with all that belongs to it', async () => {
    await stage.upload(lineOf(0, { api_key: SECRET }))
    await stage.input.remove('file-1')
    expect([...(await stage.objects()).keys()]).toEqual([])
  })
})

describe('the key of a line', () => {
  const lines = Array.from({ length: 5 }, (_, one) => lineOf(one, { api_key: `sk-${one}` })).join('\n')

  test('that is zeros leaves this line without its credentials, and no other', async () => {
    const { file, keys } = await stage.upload(lines)
    keys?.fill(0, 2 * 32, 3 * 32)
    // oxlint-disable-next-line typescript/require-await -- as from Redis
    const keysOf = async (from: number, count: number) =>
      keys?.subarray(from * 32, (from + count) * 32) ?? Buffer.alloc(0)
    const read = await readable(stage.input.read(file, [0, 1, 2, 3, 4], keysOf))
    expect(read.map(({ credentials, body }) => [credentials, body['api_key']])).toEqual([
      ['own', 'sk-0'],
      ['own', 'sk-1'],
      ['erased', '[erased]'],
      ['own', 'sk-3'],
      ['own', 'sk-4'],
    ])
  })

  test('that is not given leaves all lines without', async () => {
    const { file } = await stage.upload(lines)
    const read = await readable(stage.input.read(file, [1, 3], null))
    expect(read.map(({ credentials }) => credentials)).toEqual(['erased', 'erased'])
    expect(JSON.stringify(read)).not.toContain('sk-')
  })

  test('opens nothing of another file or tenant', async () => {
    const { file, keysOf } = await stage.upload(lines)
    const other = await stage.upload(lines, { fileId: 'file-2' })
    const mixedUp = [
      stage.input.read(file, [0], other.keysOf),
      stage.input.read({ ...file, fileId: 'file-2' }, [0], keysOf),
    ]
    for (const mixed of mixedUp) {
      const [line] = await readable(mixed)
      expect(line?.credentials).toBe('erased')
      expect(JSON.stringify(line)).not.toContain('sk-')
    }
    const foreign = stage.input.read({ ...file, tenant: 'other' }, [0], keysOf)
    await expect(listOf(foreign)).rejects.toThrow('open')
  })

  test('opens nothing that was sealed under another master key', async () => {
    const { file, keysOf } = await stage.upload(lines)
    const sealer = createSealer([{ id: 'k', key: randomBytes(32) }])
    const input = createBatchInput({ store: stage.store, sealer })
    await expect(listOf(input.read(file, [0], keysOf))).rejects.toThrow('does not open here')
  })
})

describe('a line', () => {
  test('that is too long, no UTF-8 or no JSON leaves nothing behind but why, and no other line suffers', async () => {
    const bad = Buffer.concat([
      Buffer.from(`{"api_key":"${SECRET}`),
      Buffer.from([0xff]),
      Buffer.from('"}\n'),
    ])
    const long = `{"api_key":"${SECRET}${'x'.repeat(2000)}"}\n`
    const text = Buffer.concat([
      Buffer.from(`${lineOf(0)}\n`),
      bad,
      Buffer.from(`${long}{"api_key":"${SECRET}\n${lineOf(1)}`),
    ])
    for (const chunkBytes of [1, 7, 100_000]) {
      const uploaded = await stage.upload(text, { chunkBytes, limits: { lineBytesMax: 2000 } })
      expect(await contentOf(uploaded)).not.toContain(SECRET)
      const lines = await all(uploaded)
      expect(lines.map((line) => readUnkept(Buffer.from(line.text))?.code ?? line.text)).toEqual([
        lineOf(0),
        'invalid_utf8',
        'line_too_large',
        'invalid_json_line',
        lineOf(1),
      ])
    }
  })

  test('of exactly the longest length is kept', async () => {
    const line = lineOf(0)
    for (const [lineBytesMax, code] of [
      [line.length, undefined],
      [line.length - 1, 'line_too_large'],
    ] as const) {
      const [read] = await all(await stage.upload(`${line}\n`, { chunkBytes: 10, limits: { lineBytesMax } }))
      expect(readUnkept(Buffer.from(read?.text ?? ''))?.code).toBe(code)
    }
  })

  test('beyond the most allowed is counted once, and nothing of it or of those after it is kept', async () => {
    const text = Array.from({ length: 9 }, (_, one) => lineOf(one, { api_key: SECRET })).join('\n')
    const uploaded = await stage.upload(text, { limits: { linesMax: 3 } })
    expect(uploaded.lines).toBe(4)
    const lines = await all(uploaded)
    expect(lines.map(({ text: line }) => readUnkept(Buffer.from(line))?.code)).toEqual([
      undefined,
      undefined,
      undefined,
      'too_many_lines',
    ])
    expect(lines[2]?.text).toBe(lineOf(2, { api_key: SECRET }))
  })
})

test('an upload that is too large, or breaks off, leaves nothing in the store', async () => {
  const lines = Buffer.from(
    Array.from({ length: 5000 }, (_, one) => lineOf(one, { api_key: SECRET })).join('\n'),
  )
  await expect(stage.upload(lines, { limits: { bytesMax: lines.length - 1 } })).rejects.toThrow(TooLargeError)
  const breakingOff = async function* (): AsyncIterable<Buffer> {
    yield* inChunks(lines, 1000)
    throw new Error('the client left')
  }
  const write = writeBatchInput(stage, { tenant: 'acme', id: 'file-1' }, breakingOff(), {
    bytesMax: 1e8,
    lineBytesMax: 1e6,
    linesMax: 1e5,
  })
  await expect(write).rejects.toThrow('the client left')
  expect([...(await stage.objects()).keys()]).toEqual([])
})

test('a store that fails beside the content fails the upload', async () => {
  const failing = {
    ...stage.store,
    write: (name: string, content: AsyncIterable<Uint8Array>) =>
      name.endsWith('credentials')
        ? Promise.reject(new Error('disk full'))
        : stage.store.write(name, content),
  }
  const text = Buffer.from(
    Array.from({ length: 3000 }, (_, one) => lineOf(one, { api_key: SECRET })).join('\n'),
  )
  const write = writeBatchInput(
    { store: failing, sealer: stage.sealer },
    { tenant: 'acme', id: 'file-1' },
    inChunks(text, 10_000),
    { bytesMax: 1e8, lineBytesMax: 1e6, linesMax: 1e5 },
  )
  await expect(write).rejects.toThrow('disk full')
  expect([...(await stage.objects()).keys()]).toEqual([])
})

describe('reading', () => {
  const many = Array.from({ length: 4000 }, (_, one) =>
    lineOf(one, one % 3 === 0 ? { api_key: `sk-${one}` } : { user: 'x'.repeat(400) }),
  )

  /** An input whose store and sealer count what is read and opened. */
  async function counted() {
    const uploaded = await stage.upload(many.join('\n'))
    const counts = { bytes: 0, frames: 0 }
    const input = createBatchInput({
      store: {
        ...stage.store,
        async *read(name, range) {
          for await (const chunk of stage.store.read(name, range)) {
            if (name === contentName('file-1')) counts.bytes += chunk.length
            yield chunk
          }
        },
      },
      sealer: {
        ...stage.sealer,
        record(place) {
          const sealed = stage.sealer.record(place)
          return {
            seal: (field, value) => sealed.seal(field, value),
            open(field, envelope) {
              if (field.startsWith('content:')) counts.frames += 1
              return sealed.open(field, envelope)
            },
          }
        },
      },
    })
    return { ...uploaded, input, counts }
  }

  test('any choice of lines gives these lines in ascending order, each with its own credentials', async () => {
    const { file, keysOf, input } = await counted()
    const choices = fc.uniqueArray(fc.integer({ min: 0, max: many.length - 1 }), { maxLength: 120 })
    await fc.assert(
      fc.asyncProperty(choices, async (lines) => {
        const read = (await readable(input.read(file, lines, keysOf))).map(told)
        expect(read).toEqual(
          lines
            .toSorted((one, other) => one - other)
            .map((line) => ({ line, customId: `r${line}`, key: line % 3 === 0 ? `sk-${line}` : null })),
        )
      }),
      { numRuns: 30 },
    )
  })

  test('all lines decrypts each frame once; a hundred of them no more than they lie in', async () => {
    const { file, keysOf, input, counts } = await counted()
    for await (const _ of input.read(file, many.keys(), keysOf));
    expect(counts.frames).toBe(Math.ceil(file.bytes / 65_536))
    counts.frames = 0
    const chunk = Array.from({ length: 100 }, (_, one) => 1000 + one)
    expect(await listOf(input.read(file, chunk, keysOf))).toHaveLength(100)
    expect(counts.frames).toBeLessThanOrEqual(2)
  })

  test('holds no more than little ahead of a slow reader', async () => {
    const { file, keysOf, input, counts } = await counted()
    const lines = input.read(file, many.keys(), keysOf)
    await lines.next()
    await lines.next()
    expect(file.bytes).toBeGreaterThan(1_500_000)
    expect(counts.bytes).toBeLessThan(700_000)
    await lines.return(undefined)
  })

  test('stored texts needs no key and shows none', async () => {
    const { file, input } = await counted()
    const texts = await listOf(input.text(file, [3, 1]))
    expect(texts.map(({ line, text }) => [line, text.toString()])).toEqual([
      [1, many[1]],
      [3, many[3]?.replace('sk-3', '[erased]')],
    ])
  })
})
