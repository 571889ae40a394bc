import { randomBytes } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import { basename } from 'node:path'
import { addAbortSignal } from 'node:stream'
import { z } from 'zod'
import { ConfigError } from '../shared/errors.ts'
import type { GatewayClient } from './gateway-client.ts'
import type { Terminal } from './terminal.ts'

const STDIN = '-'

const UploadedFile = z.looseObject({ id: z.string() })

/** What is uploaded. `canRepeat`: it can be read again from its start. */
export type Upload = {
  name: string
  sizeBytes: number | null
  canRepeat: boolean
  open(signal: AbortSignal): AsyncIterable<Uint8Array>
}

/**
 * The file of this name, or what is piped in for `-`.
 * @throws {ConfigError} when it can't be read.
 */
export async function findUpload(file: string, { stdin }: Terminal): Promise<Upload> {
  if (file === STDIN) {
    if (stdin.isTTY)
      throw new ConfigError('"-" reads the lines from a pipe: put a command in front, or "< FILE" behind.')
    const open = (signal: AbortSignal) => addAbortSignal(signal, stdin)
    return { name: 'stdin.jsonl', sizeBytes: null, canRepeat: false, open }
  }
  const found = await stat(file).catch(() => null)
  if (!found || found.isDirectory()) throw new ConfigError(`${file} is no file that can be read.`)
  const isPlain = found.isFile()
  return {
    name: basename(file),
    sizeBytes: isPlain ? found.size : null,
    canRepeat: isPlain,
    open: (signal) => createReadStream(file, { signal }),
  }
}

/**
 * Uploads the lines of a batch as they are read.
 * @returns the file's id
 */
export async function upload(
  from: Upload,
  client: GatewayClient,
  onSent: (bytes: number) => void,
): Promise<string> {
  const boundary = `byok-gateway-${randomBytes(12).toString('hex')}`
  const file = await client.call('POST', '/v1/files', {
    body: multipart(from.name, counted(readable(from, client.signal), onSent), boundary),
    headers: { 'content-type': `multipart/form-data; boundary=${boundary}` },
  })
  return UploadedFile.parse(file).id
}

/** The purpose comes first: the gateway can then take the lines apart while they arrive. */
async function* multipart(name: string, content: AsyncIterable<Uint8Array>, boundary: string) {
  // As browsers write it.
  const quoted = name.replaceAll('"', '%22').replaceAll('\r', '%0D').replaceAll('\n', '%0A')
  const head = [
    `--${boundary}`,
    'content-disposition: form-data; name="purpose"',
    '',
    'batch',
    `--${boundary}`,
    `content-disposition: form-data; name="file"; filename="${quoted}"`,
    'content-type: application/jsonl',
    '',
    '',
  ]
  yield Buffer.from(head.join('\r\n'))
  yield* content
  yield Buffer.from(`\r\n--${boundary}--\r\n`)
}

async function* counted(content: AsyncIterable<Uint8Array>, onSent: (bytes: number) => void) {
  let sent = 0
  for await (const piece of content) {
    yield piece
    sent += piece.length
    onSent(sent)
  }
}

async function* readable(from: Upload, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  try {
    yield* from.open(signal)
  } catch (error) {
    if (signal.aborted) throw error
    const reason = error instanceof Error && 'code' in error ? String(error.code) : 'no reason'
    throw new ConfigError(`${from.name} can't be read (${reason}).`)
  }
}
