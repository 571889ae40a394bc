import { SealError } from '../errors.ts'
import type { ByteRange, FileStore } from './file-store.ts'
import type { RecordSealer, Sealer } from '../seal.ts'

const FRAME_BYTES = 64 * 1024

/** Where a sealed file lies, and how long it and its frames are. */
export type SealedFile = {
  tenant: string
  id: string
  /** Name in the store; `files/<id>/content` unless given. */
  name?: string
  /** Of the plaintext. */
  bytes: number
  /** Of a full frame as it is sealed: the length of the key's id is in it. */
  frameBytes: number
}

/** Name in the store of what a file holds. */
export function contentName(fileId: string): string {
  return `files/${fileId}/content`
}

/** How long a full frame is when this sealer seals it. */
export function sealedFrameBytes(sealed: RecordSealer): number {
  return sealed.seal('', '').length + FRAME_BYTES
}

/**
 * Cuts content into frames of 64 KiB and seals each for its place, so that any part of a file can be read alone, and
 * none can be moved. All frames but the last are full; an empty file has none.
 * @param counted is told the plaintext bytes of each frame.
 */
export async function* sealFrames(
  sealed: RecordSealer,
  content: AsyncIterable<Uint8Array>,
  counted: (bytes: number) => void = () => {},
): AsyncIterable<Buffer> {
  // A frame is sealed before the next is gathered in the same memory.
  const frame = Buffer.allocUnsafe(FRAME_BYTES)
  let filled = 0
  let number = 0
  const sealFrame = (): Buffer => {
    const sealedFrame = sealed.seal(fieldOf(number), frame.subarray(0, filled))
    counted(filled)
    number += 1
    filled = 0
    return sealedFrame
  }
  for await (const chunk of content) {
    for (let at = 0; at < chunk.length;) {
      const size = Math.min(FRAME_BYTES - filled, chunk.length - at)
      frame.set(chunk.subarray(at, at + size), filled)
      filled += size
      at += size
      if (filled === FRAME_BYTES) yield sealFrame()
    }
  }
  if (filled > 0) yield sealFrame()
}

/**
 * Plaintext bytes [from, to) of a sealed file; only the frames that hold some of them are read.
 * @throws {SealError} when a frame was changed, moved, or cut off; {FileGoneError} when the file is not there.
 */
export async function* readSealedFile(
  store: FileStore,
  file: SealedFile,
  sealer: Sealer,
  { from = 0, to = file.bytes }: ByteRange = {},
): AsyncIterable<Buffer> {
  const end = Math.min(to, file.bytes)
  if (from >= end) return
  const { name = contentName(file.id), frameBytes } = file
  const sealed = sealer.record({ tenant: file.tenant, kind: 'file', id: file.id })
  const last = Math.ceil(end / FRAME_BYTES)
  let number = Math.floor(from / FRAME_BYTES)
  for await (const frame of splitFrames(
    store.read(name, { from: number * frameBytes, to: last * frameBytes }),
    frameBytes,
  )) {
    const plain = sealed.open(fieldOf(number), frame)
    const start = number * FRAME_BYTES
    yield plain.subarray(Math.max(0, from - start), Math.max(0, end - start))
    number += 1
  }
  // Whole frames can be missing at the end, and all that is there is genuine.
  if (number < last) throw new SealError('A sealed file is cut off.')
}

async function* splitFrames(chunks: AsyncIterable<Buffer>, frameBytes: number): AsyncIterable<Buffer> {
  let held: Buffer[] = []
  let size = 0
  for await (const chunk of chunks) {
    held.push(chunk)
    size += chunk.length
    if (size < frameBytes) continue
    const whole = held.length === 1 ? chunk : Buffer.concat(held)
    let at = 0
    for (; size - at >= frameBytes; at += frameBytes) yield whole.subarray(at, at + frameBytes)
    held = [whole.subarray(at)]
    size -= at
  }
  if (size > 0) yield Buffer.concat(held)
}

// The number is part of what is sealed: a frame opens at its own place only.
function fieldOf(number: number): string {
  return `content:${number}`
}
