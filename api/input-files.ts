import { writeBatchInput, type BatchInputLimits } from '../shared/batches/batch-input.ts'
import type { FileStore } from '../shared/files/file-store.ts'
import type { Files, FileView } from '../shared/files/files.ts'
import type { Ids } from '../shared/ids.ts'
import type { Sealer } from '../shared/seal.ts'
import { keptAtMostMs } from './retention.ts'

const KEPT_MS = 30 * 86_400_000

export type InputFileDeps = {
  files: Files
  store: FileStore
  sealer: Sealer
  ids: Ids
  inputLimits: BatchInputLimits
}

/** Lines that came without a file. @param filesS Seconds that its tenant keeps files. */
type InputLines = {
  tenant: string
  filename: string
  lines: AsyncIterable<Uint8Array>
  filesS: number | null | undefined
}

/**
 * Stores lines as the input of a batch, as if its client had uploaded them.
 * @throws {FileQuotaError} when the tenant has no room left. After any failure nothing is left of it.
 */
export async function createInputFile(
  deps: InputFileDeps,
  { tenant, filename, lines, filesS }: InputLines,
): Promise<FileView> {
  const { files, inputLimits } = deps
  const id = deps.ids.newFileId(tenant)
  const room = await files.reserve(tenant, id)
  try {
    const limits = { ...inputLimits, bytesMax: Math.min(inputLimits.bytesMax, room) }
    const written = await writeBatchInput(deps, { tenant, id }, lines, limits)
    return await files.create({
      ...written,
      id,
      tenant,
      filename,
      purpose: 'batch',
      expiresInMs: keptAtMostMs(KEPT_MS, filesS),
      isForOne: true,
    })
  } catch (error) {
    await files.abandon(tenant, id)
    throw error
  }
}
