import { randomBytes } from 'node:crypto'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as fc from 'fast-check'
import { createBatchInput, writeBatchInput, type BatchInputFile } from '../../shared/batches/batch-input.ts'
import { openFileStore } from '../../shared/files/file-store.ts'
import { CONNECTION_FIELDS, PROVIDER_SECRETS } from '../../shared/schemas/field-names.ts'
import { createSealer } from '../../shared/seal.ts'

/** In every credential that `inputLineText` makes, and nowhere else. */
export const SECRET = 'S3CR3T'

const LIMITS = { bytesMax: 100_000_000, lineBytesMax: 1024 * 1024, linesMax: 50_000 }

/** A folder as file store, and inputs of batches in it. */
export async function openInputStage() {
  const folder = await mkdtemp(join(tmpdir(), 'byok-test-input-'))
  const store = openFileStore(`file:${folder}`)
  const sealer = createSealer([{ id: 'k', key: randomBytes(32) }])
  const input = createBatchInput({ store, sealer })

  /** Uploads a text in chunks of `chunkBytes`, and gives what is needed to read it. */
  async function upload(
    text: string | Buffer,
    { chunkBytes = 64 * 1024, limits = {}, tenant = 'acme', fileId = 'file-1' } = {},
  ) {
    const written = await writeBatchInput(
      { store, sealer },
      { tenant, id: fileId },
      inChunks(Buffer.from(text), chunkBytes),
      { ...LIMITS, ...limits },
    )
    const { bytes, frameBytes, lines } = written
    const file: BatchInputFile = { tenant, fileId, bytes, frameBytes, lines }
    const packed = written.keys
    // oxlint-disable-next-line typescript/require-await -- as from Redis
    const keysOf = async (from: number, count: number) =>
      packed?.subarray(from * 32, (from + count) * 32) ?? Buffer.alloc(0)
    return { ...written, file, keysOf: packed && keysOf }
  }

  /** All that lies in the folder, by name. */
  async function objects(): Promise<Map<string, Buffer>> {
    const entries = await readdir(folder, { recursive: true, withFileTypes: true })
    const paths = entries.filter((one) => one.isFile()).map((one) => join(one.parentPath, one.name))
    const contents = await Promise.all(paths.map((path) => readFile(path)))
    return new Map(
      paths.map((path, index) => [path.slice(folder.length + 1), contents[index] ?? Buffer.alloc(0)]),
    )
  }

  return {
    store,
    sealer,
    input,
    upload,
    objects,
    async close() {
      await store.close()
      await rm(folder, { recursive: true, force: true })
    },
  }
}

export type InputStage = Awaited<ReturnType<typeof openInputStage>>

/** Bytes in chunks of one size. */
export async function* inChunks(bytes: Buffer, size: number): AsyncIterable<Buffer> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
}

const blanks = fc.constantFrom('', '', ' ', '\t', ' \r ')
const word = fc.string({ unit: 'grapheme', maxLength: 12 }).filter((text) => !text.includes(SECRET))
const number = fc.constantFrom('0', '-1.5e3', '12345678901234567890', '0.1234567890123456789', '1e400')
const plainValue = fc.oneof(
  word.map((text) => JSON.stringify(text)),
  number,
  fc.constantFrom('null', 'true', '{}', '[]', '"a \\"api_key\\":\\"b\\" {"', '"\\\\"', '"[erased]"'),
  fc.jsonValue().map((value) => JSON.stringify(value)),
)
const plain = fc.tuple(
  fc.constantFrom('model', 'messages', 'temperature', 'x', 'metadata', 'num_retries', 'seed', ''),
  plainValue,
)
const secretText = fc.tuple(word, word).map(([before, after]) => JSON.stringify(before + SECRET + after))
const secretValue = fc.oneof(
  secretText,
  secretText.map((text) => `[1, ${text}]`),
  secretText.map((text) => `{"a": [{"api_key": ${text}}]}`),
)
const secret = fc.oneof(
  fc.tuple(
    fc.constantFrom(
      ...CONNECTION_FIELDS,
      ...PROVIDER_SECRETS,
      'user_config',
      'extra_headers',
      'headers',
      'default_headers',
      'extra_body',
      'job',
      'ApiKey',
      'x-api-key',
    ),
    secretValue,
  ),
  fc.tuple(
    fc.constantFrom('fallbacks', 'context_window_fallbacks', 'content_policy_fallbacks'),
    secretText.map((text) => `["a", {"model": "b", "api_key": ${text}}]`),
  ),
)

/** Members as text, some names written with escapes, any of them more than once. */
function members(own: fc.Arbitrary<[string, string]>): fc.Arbitrary<string> {
  const member = fc
    .tuple(own, fc.infiniteStream(fc.boolean()), blanks, blanks)
    .map(([[name, value], flags, before, after]) => {
      const written = Array.from(name, (one) =>
        flags.next().value === true && one < '\x7f' ? escaped(one) : one,
      )
      return `${before}"${written.join('')}"${after}:${before}${value}${after}`
    })
  return fc.array(member, { maxLength: 6 }).map((all) => all.join(','))
}

function escaped(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`
}

const anyMember = fc.oneof(plain, secret)
const body = members(anyMember).map((inner): [string, string] => ['body', `{${inner}}`])
const beside = fc.oneof(
  secret,
  body,
  fc.tuple(
    fc.constantFrom('custom_id', 'url', 'method', 'customer'),
    secretValue.map(() => '"plain"'),
  ),
)

/** A line of valid JSON, with credentials in any of the places where the gateway would read some. */
export const inputLineText: fc.Arbitrary<string> = members(beside).map((inner) => `{${inner}}`)

/** All that an iteration gives. */
export async function listOf<Item>(items: AsyncIterable<Item>): Promise<Item[]> {
  const all: Item[] = []
  for await (const item of items) all.push(item)
  return all
}
