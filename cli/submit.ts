import { randomUUID } from 'node:crypto'
import { stat } from 'node:fs/promises'
import { ConfigError, GatewayError } from '../shared/errors.ts'
import { Batch } from '../shared/schemas/batch.ts'
import { readBatchFields, type BatchOptions } from './batch-options.ts'
import { readClientSettings, type ClientSettings } from './client-settings.ts'
import { createGatewayClient, persist, type GatewayClient } from './gateway-client.ts'
import { createDisplay } from './progress-display.ts'
import { viewOfUpload } from './progress.ts'
import { INTERRUPTED, printable, type Terminal } from './terminal.ts'
import { findUpload, upload, type Upload } from './upload.ts'
import { commandOf, watch, type WatchOptions } from './watch.ts'

/** How long a gateway that restarts is waited for, before there is a batch. */
const PATIENCE_MS = 60_000

export type SubmitOptions = BatchOptions & WatchOptions & { endpoint: string; watch?: boolean }
export type RetryOptions = BatchOptions & WatchOptions & { watch?: boolean }

/**
 * Uploads a file of lines, makes a batch of it, and with `--watch` watches that to its end.
 * @returns the exit code
 * @throws {ConfigError} for what is wrong here, before anything is sent.
 */
export async function submit(file: string, options: SubmitOptions, terminal: Terminal): Promise<number> {
  const fields = await prepare(options, terminal)
  const source = await findUpload(file, terminal)
  const settings = await readClientSettings(terminal.environment)
  const client = createGatewayClient(settings, terminal.signal)
  try {
    // A wrong address or key is found before a large file has gone out.
    await client.call('GET', '/v1/batches?limit=1')
    const fileId = await uploadFrom(source, client, options, terminal)
    const request = { completion_window: '24h', ...fields, endpoint: options.endpoint, input_file_id: fileId }
    const batch = await create('/v1/batches', request, client, terminal).catch(async (error: unknown) => {
      // A file that no batch was made of is of no use to anybody.
      if (error instanceof GatewayError && !error.shouldRetry) await removeFile(fileId, client)
      throw error
    })
    return await goOn(batch, options, { settings, terminal })
  } catch (error) {
    if (!terminal.signal.aborted) throw error
    terminal.warn(
      'Stopped before the batch was there. "byok-gateway batches list" shows whether it came to be.',
    )
    return INTERRUPTED
  }
}

/**
 * Makes a batch of the lines of another one that did not complete, with credentials anew, and with `--watch` watches it.
 * @returns the exit code
 */
export async function retryBatch(id: string, options: RetryOptions, terminal: Terminal): Promise<number> {
  const fields = await prepare(options, terminal)
  const settings = await readClientSettings(terminal.environment)
  const client = createGatewayClient(settings, terminal.signal)
  const batch = await create(`/v1/batches/${encodeURIComponent(id)}/retry`, fields, client, terminal)
  return goOn(batch, options, { settings, terminal })
}

async function prepare(options: RetryOptions, { environment }: Terminal): Promise<Record<string, unknown>> {
  const files = [options.output, options.errors].filter((name) => name !== undefined)
  if (files.length > 0 && !options.watch) {
    throw new ConfigError('--output and --errors are filled while the batch is watched: give --watch too.')
  }
  for (const name of files) {
    const found = await stat(name).catch(() => null)
    if (found && found.size > 0) {
      throw new ConfigError(
        `${name} is there already. A new batch needs a new file; "watch ID --output ${name}" goes on with one.`,
      )
    }
  }
  return readBatchFields(options, environment)
}

async function uploadFrom(source: Upload, client: GatewayClient, { json }: WatchOptions, terminal: Terminal) {
  const display = json ? null : createDisplay(terminal)
  const onSent = (bytes: number) => display?.show(viewOfUpload(bytes, source.sizeBytes))
  try {
    // What came through a pipe is gone.
    const giveUpMs = source.canRepeat ? PATIENCE_MS : 0
    const fileId = await keepOn(() => upload(source, client, onSent), client, terminal, giveUpMs)
    display?.say(`Uploaded ${printable(source.name)} as ${fileId}.`)
    return fileId
  } finally {
    display?.stop()
  }
}

async function create(
  path: string,
  fields: object,
  client: GatewayClient,
  terminal: Terminal,
): Promise<Batch> {
  // However often it has to be sent, it makes one batch.
  const json = { ...fields, idempotency_key: randomUUID() }
  return Batch.parse(await keepOn(() => client.call('POST', path, { json }), client, terminal, PATIENCE_MS))
}

function keepOn<T>(work: () => Promise<T>, { signal }: GatewayClient, { warn }: Terminal, giveUpMs: number) {
  const onWait = (error: GatewayError) => warn(`${error.message} Trying again.`)
  return persist(work, { signal, onWait, giveUpMs })
}

async function removeFile(id: string, client: GatewayClient): Promise<void> {
  await client.call('DELETE', `/v1/files/${id}`).catch(() => {})
}

async function goOn(
  batch: Batch,
  options: RetryOptions,
  deps: { settings: ClientSettings; terminal: Terminal },
): Promise<number> {
  const { terminal } = deps
  for (const warning of batch.warnings) terminal.warn(`Note: ${printable(warning)}`)
  // With --json too, on stderr: whoever is interrupted needs the id.
  terminal.say(`Created ${batch.id}.`)
  if (options.watch) return watch(batch.id, options, deps)
  if (options.json) terminal.print(`${JSON.stringify(batch, null, 2)}\n`)
  else terminal.say(`It runs on the gateway. Watch it: ${commandOf(batch.id, {})} --output FILE`)
  return 0
}
