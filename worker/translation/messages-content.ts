import { isObject } from '../providers/error-body.ts'
import { given, type Part } from './chat-messages.ts'
import { isText, listOf } from './json-values.ts'
import type { ChatDialect } from './translation.ts'
import type { Warnings } from './warnings.ts'

type JsonObject = Record<string, unknown>

/** What stands around the reading of a request. */
export type Context = { dialect: ChatDialect; warnings: Warnings }

/** Content of Anthropic's, a text or blocks, as parts of a chat message. What has no place there is named. */
export function readParts(content: unknown, context: Context): Part[] {
  if (typeof content === 'string') return content === '' ? [] : [{ type: 'text', text: content }]
  return listOf(content).flatMap((block) => {
    const parts = readBlock(block, context)
    const marks = readMark(block, context)
    // A mark stands for all before it: at the last part of what the block became.
    return parts.map((part, at) => (at === parts.length - 1 ? { ...part, ...marks } : part))
  })
}

/** `cache_control` of a block, a tool or a call, where the chat can carry it. */
export function readMark({ cache_control }: JsonObject, { dialect, warnings }: Context): JsonObject {
  if (!isObject(cache_control)) return {}
  if (dialect === 'rich') return { cache_control }
  warnings.leftOut('cache_control', 'what the provider caches is its own affair')
  return {}
}

function readBlock(block: JsonObject, context: Context): Part[] {
  switch (block['type']) {
    case 'text':
      return isText(block['text']) ? [{ type: 'text', text: block['text'] }] : []
    case 'image':
      return readImage(block, context)
    case 'document':
      return readDocument(block, context)
    case 'search_result': {
      const { title, source, content } = block
      return headed([title, source].filter(isText).join('\n'), readParts(content, context))
    }
    default:
      context.warnings.leftOut(`content block ${String(block['type'])}`)
      return []
  }
}

function readImage({ source }: JsonObject, { warnings }: Context): Part[] {
  const { type, url, data, media_type: mediaType } = isObject(source) ? source : {}
  const address = type === 'base64' ? `data:${String(mediaType)};base64,${String(data)}` : url
  if (isText(address)) return [{ type: 'image_url', image_url: { url: address } }]
  warnings.leftOut(`image source ${String(type)}`)
  return []
}

function readDocument(block: JsonObject, context: Context): Part[] {
  const { source, title, context: about, citations } = block
  const { type, data, url, media_type: mediaType, content } = isObject(source) ? source : {}
  if (isObject(citations) && citations['enabled'] === true) context.warnings.leftOut('document.citations')
  const head = [title, about].filter(isText).join('\n')
  if (type === 'base64') {
    const filename = isText(title) ? title : 'document.pdf'
    const file_data = `data:${String(mediaType)};base64,${String(data)}`
    return headed(isText(about) ? about : '', [{ type: 'file', file: { filename, file_data } }])
  }
  if (type === 'text' && isText(data)) return headed(head, [{ type: 'text', text: data }])
  if (type === 'content') return headed(head, readParts(content, context))
  if (type === 'url' && isText(url) && context.dialect === 'rich') {
    // LiteLLM's form, which our adapters know: the address stands where OpenAI has an id.
    const file = given({ file_id: url, filename: title, format: 'application/pdf' })
    return headed(isText(about) ? about : '', [{ type: 'file', file }])
  }
  context.warnings.leftOut(`document source ${String(type)}`)
  return []
}

/** Parts under a heading, which goes into the first where that is a text. */
function headed(head: string, parts: readonly Part[]): Part[] {
  const [first, ...rest] = parts
  if (head === '' || !first) return [...parts]
  if (first.type !== 'text') return [{ type: 'text', text: head }, first, ...rest]
  return [{ ...first, text: `${head}\n\n${String(first['text'])}` }, ...rest]
}
