/** A part of a form: a field, or a file with its name. */
export type FormPart = { name: string; value: string | Buffer; filename?: string; type?: string }

/** Of `fileForm`. */
export const FILENAME = 'notes-nobody-may-know-of.txt'

const BOUNDARY = 'a-boundary-of-the-tests'

/** A multipart body with its parts in this very order. `text` is what an injected call takes. */
export function form(parts: readonly FormPart[], { isWhole = true } = {}) {
  const chunks = parts.flatMap(({ name, value, filename, type }) => [
    Buffer.from(
      `--${BOUNDARY}\r\ncontent-disposition: form-data; name="${name}"` +
        (filename === undefined ? '' : `; filename="${filename}"`) +
        (type === undefined ? '' : `\r\ncontent-type: ${type}`) +
        '\r\n\r\n',
    ),
    Buffer.from(value),
    Buffer.from('\r\n'),
  ])
  const end = isWhole ? [Buffer.from(`--${BOUNDARY}--\r\n`)] : []
  const body = Buffer.concat([...chunks, ...end])
  return { body, headers: { 'content-type': `multipart/form-data; boundary=${BOUNDARY}` } }
}

/** The form of a file, its purpose before it unless `extra` says it. */
export function fileForm(content: string | Buffer, purpose = 'user_data', extra: readonly FormPart[] = []) {
  return form([
    { name: 'purpose', value: purpose },
    { name: 'file', value: content, filename: FILENAME, type: 'text/plain' },
    ...extra,
  ])
}
