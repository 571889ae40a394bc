/** How files of the types that providers take begin, as Latin-1. */
const SIGNATURES: readonly (readonly [pattern: RegExp, mediaType: string])[] = [
  [/^\x89PNG\r\n/, 'image/png'],
  [/^\xff\xd8\xff/, 'image/jpeg'],
  [/^GIF8[79]a/, 'image/gif'],
  [/^RIFF[\s\S]{4}WEBP/, 'image/webp'],
  [/^[\s\S]{4}ftyp(?:heic|heix|mif1)/, 'image/heic'],
  [/^[\s\S]{4}ftyp/, 'video/mp4'],
  [/^%PDF-/, 'application/pdf'],
  [/^RIFF[\s\S]{4}WAVE/, 'audio/wav'],
  [/^(?:ID3|\xff[\xfb\xf3\xf2])/, 'audio/mp3'],
  [/^OggS/, 'audio/ogg'],
  [/^fLaC/, 'audio/flac'],
]

const BY_EXTENSION: Record<string, string> = {
  png: 'image/png',
  jpg: 'image/jpeg',
  jpeg: 'image/jpeg',
  gif: 'image/gif',
  webp: 'image/webp',
  heic: 'image/heic',
  pdf: 'application/pdf',
  txt: 'text/plain',
  md: 'text/plain',
  csv: 'text/csv',
  json: 'application/json',
  html: 'text/html',
  mp4: 'video/mp4',
  mov: 'video/quicktime',
  webm: 'video/webm',
  mp3: 'audio/mp3',
  wav: 'audio/wav',
  ogg: 'audio/ogg',
  flac: 'audio/flac',
}

/** The type of a file by its first bytes; null when they tell nothing. */
export function sniffMediaType(start: Uint8Array): string | null {
  const text = Buffer.from(start.subarray(0, 32)).toString('latin1')
  return SIGNATURES.find(([pattern]) => pattern.test(text))?.[1] ?? null
}

/** The type of a file by its name; null when that has no known ending. */
export function mediaTypeOfName(name: string): string | null {
  const ending = /\.([a-z0-9]{2,5})$/i.exec(name)?.[1]?.toLowerCase()
  return ending === undefined ? null : (BY_EXTENSION[ending] ?? null)
}

/** A written type in lower case without its parameters; null when it is not one concrete type. */
export function concreteMediaType(written: string | null | undefined): string | null {
  const bare = written?.split(';')[0]?.trim().toLowerCase() ?? ''
  if (bare === 'image/jpg') return 'image/jpeg'
  const isConcrete = /^[a-z]+\/[a-z0-9][a-z0-9.+-]*$/.test(bare)
  return isConcrete && bare !== 'application/octet-stream' ? bare : null
}
