import type { LanguageModelV4Message, LanguageModelV4ToolResultOutput } from '@ai-sdk/provider'
import { isObject } from '../error-body.ts'
import { neededText, textIn, type Fields } from './fields.ts'
import type { MediaLoader, MediaSource } from './media.ts'
import { partOptions } from './part-options.ts'
import { RequestFault } from './request-fault.ts'

type UserContent = Extract<LanguageModelV4Message, { role: 'user' }>['content']

/** A message's content as the texts it is made of. @throws {RequestFault} for any part that is none. */
export function textsOf(message: Fields, place: string): { text: string; fields: Fields }[] {
  return contentOf(message, place).map((fields, index) => {
    const at = `${place}.content[${index}]`
    if (fields['type'] === 'refusal') return { text: textIn(fields, 'refusal', at) ?? '', fields }
    if (fields['type'] !== 'text') throw new RequestFault(`${at} must be a text here.`, at)
    return { text: textIn(fields, 'text', `${at}.text`) ?? '', fields }
  })
}

/** What a user says: texts, and files as the provider can take them. @throws {RequestFault} */
export async function userParts(message: Fields, place: string, load: MediaLoader): Promise<UserContent> {
  const parts: UserContent = []
  for (const [index, fields] of contentOf(message, place).entries()) {
    const at = `${place}.content[${index}]`
    // One after the other: all files together have one cap.
    const file = fields['type'] === 'text' ? null : await load(sourceOf(fields, at))
    if (file) parts.push({ type: 'file', ...file, ...partOptions(fields) })
    else
      parts.push({ type: 'text', text: textIn(fields, 'text', `${at}.text`) ?? '', ...partOptions(fields) })
  }
  return parts
}

/** What a tool gave back: text, or texts and images. @throws {RequestFault} */
export async function toolOutput(
  message: Fields,
  place: string,
  load: MediaLoader,
): Promise<LanguageModelV4ToolResultOutput> {
  const contents = contentOf(message, place)
  if (contents.every(({ type }) => type === 'text')) {
    const value = contents.map((part, index) => textIn(part, 'text', `${place}.content[${index}].text`) ?? '')
    return { type: 'text', value: value.join('') }
  }
  const value: Extract<LanguageModelV4ToolResultOutput, { type: 'content' }>['value'] = []
  for (const part of await userParts(message, place, load)) {
    if (part.type === 'text') value.push({ type: 'text', text: part.text })
    else value.push({ type: 'file', data: part.data, mediaType: part.mediaType })
  }
  return { type: 'content', value }
}

/** A content as a list of parts; a plain text is one. */
function contentOf(message: Fields, place: string): Fields[] {
  const content = message['content'] ?? ''
  if (typeof content === 'string') return [{ type: 'text', text: content }]
  if (Array.isArray(content) && content.every(isObject)) return content
  throw new RequestFault(`${place}.content must be a string or a list of parts.`, `${place}.content`)
}

function sourceOf(part: Fields, place: string): MediaSource {
  const { type } = part
  if (type === 'image_url') return imageSource(part[type], place)
  if (type === 'input_audio' && isObject(part[type])) {
    const format = textIn(part[type], 'format', `${place}.input_audio.format`) ?? 'wav'
    const data = neededText(part[type], 'data', `${place}.input_audio.data`)
    return { url: `data:audio/${format};base64,${data}`, place }
  }
  if (type === 'file' && isObject(part[type])) return fileSource(part[type], place)
  // Leaving a part out would change the question.
  const name = typeof type === 'string' ? type.slice(0, 40) : 'without a type'
  throw new RequestFault(`${place} is a part that this provider can't be sent: ${name}.`, place)
}

function imageSource(image: unknown, place: string): MediaSource {
  const fields: Fields = isObject(image) ? image : { url: image }
  const url = neededText(fields, 'url', `${place}.image_url.url`)
  return { url, mediaType: textIn(fields, 'format') ?? 'image/*', place }
}

/** OpenAI's file by its data; LiteLLM's by its address, which stands where OpenAI has an id. */
function fileSource(file: Fields, place: string): MediaSource {
  const data = textIn(file, 'file_data', `${place}.file.file_data`)
  const url = data ?? neededText(file, 'file_id', `${place}.file.file_id`)
  const isPlaced = /^[a-z][a-z0-9+.-]*:/i.test(url)
  if (!isPlaced && data === undefined) {
    throw new RequestFault(`${place}.file.file_id: only a file's data or address can be sent on.`, place)
  }
  const filename = textIn(file, 'filename', `${place}.file.filename`)
  const mediaType = textIn(file, 'format', `${place}.file.format`)
  // Some clients send the Base64 alone.
  return {
    url: isPlaced ? url : `data:;base64,${url}`,
    mediaType: mediaType ?? (data === undefined ? undefined : 'application/pdf'),
    filename,
    place,
  }
}
