import type { ByteRange, FileStore } from './file-store.ts'
import type { RecordSealer, Sealer } from './seal.ts'

/** Plaintext bytes of every frame but the last. */
export const FRAME_BYTES = 64 * 1024

/** Where a sealed file lies; `bytes` of its plaintext, `frameBytes` of a full frame as it is sealed. */
export type SealedFile = {
  tenant: string
  id: string
  /** Name in the store; `files/<id>/content` unless given. */
  name?: string
  bytes: number
  frameBytes: number
}

/** Name in the store of what a file holds. */
export function contentName(fileId: string): string {
  return `files/${fileId}/content`
}

/** What `FRAME_BYTES` become when this sealer seals them. */
export function sealedFrameBytes(sealed: RecordSealer): number {
  return sealed.seal('content:0', '').length + FRAME_BYTES
}

/** Cuts content into frames and seals each for its place, so that any part of a file can be read alone. */
export async function* sealFrames(
  sealed: RecordSealer,
  content: AsyncIterable<Uint8Array>,
  counted: (bytes: number) => void = () => {},
): AsyncIterable<Buffer> {
  void [sealed, content, counted]
  yield Buffer.alloc(0)
  throw new Error('in the works')
}

/** Plaintext bytes [from, to) of a sealed file; only the frames that hold them are read. */
export async function* readSealedFile(
  store: FileStore,
  file: SealedFile,
  sealer: Sealer,
  range: ByteRange = {},
): AsyncIterable<Buffer> {
  void [store, file, sealer, range]
  yield Buffer.alloc(0)
  throw new Error('in the works')
}
