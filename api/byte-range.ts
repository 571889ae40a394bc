/** Bytes [from, to) of a content; `unsatisfiable`: there are none of those asked for; `whole`: no range was asked for. */
export type AskedRange =
  | { kind: 'whole' }
  | { kind: 'part'; from: number; to: number }
  | { kind: 'unsatisfiable' }

/**
 * Reads a Range header for a content of so many bytes. What is no range of bytes, or several of them, asks for the
 * whole, as it may. @see https://www.rfc-editor.org/rfc/rfc9110#name-range
 */
export function readRange(header: string | undefined, bytes: number): AskedRange {
  const [, first = '', last = ''] = /^bytes=\s*(\d*)-(\d*)\s*$/i.exec(header ?? '') ?? []
  if (first === '' && last === '') return { kind: 'whole' }
  if (first === '') {
    const from = Math.max(0, bytes - Number(last))
    return from < bytes ? { kind: 'part', from, to: bytes } : { kind: 'unsatisfiable' }
  }
  const from = Number(first)
  const to = last === '' ? bytes : Math.min(Number(last) + 1, bytes)
  if (last !== '' && Number(last) < from) return { kind: 'whole' }
  return from < bytes ? { kind: 'part', from, to } : { kind: 'unsatisfiable' }
}
