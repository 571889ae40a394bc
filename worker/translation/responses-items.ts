import { isObject } from '../providers/error-body.ts'
import { signCallId } from './call-ids.ts'
import type { ChatAnswer } from './chat-answer.ts'
import type { Block } from './chat-blocks.ts'
import { sealThoughts } from './sealed-thoughts.ts'

type JsonObject = Record<string, unknown>

/** One item of a response's `output` and the blocks it is made of: a message has one for its text and one for a refusal. */
export type Item = { id: string; blocks: Block[] }

/** `incomplete`: a limit or a filter ended the answer within the item. */
export type ItemStatus = 'in_progress' | 'completed' | 'incomplete'

const PREFIXES: Record<Block['kind'], string> = {
  reasoning: 'rs',
  redacted: 'rs',
  text: 'msg',
  refusal: 'msg',
  call: 'fc',
}

/** Whether a block stands in an item of its own kind after `last`, as another part of it. */
export function belongsTo(last: Item | undefined, block: Block): boolean {
  const [first] = last?.blocks ?? []
  return first !== undefined && isOfMessage(first) && isOfMessage(block)
}

/** The items that an answer is told in. */
export function itemsOf({ blocks, idStem }: Pick<ChatAnswer, 'blocks' | 'idStem'>): Item[] {
  const items: Item[] = []
  for (const block of blocks) {
    const last = items.at(-1)
    if (last && belongsTo(last, block)) last.blocks.push(block)
    else items.push(newItem(idStem, items.length, block))
  }
  return items
}

/** An item that begins with a block; its id is made of the answer's and its place. */
export function newItem(idStem: string, place: number, block: Block): Item {
  return { id: `${PREFIXES[block.kind]}_${idStem}_${place}`, blocks: [block] }
}

/** An item as it stands in `output`. */
export function tellItem({ id, blocks }: Item, status: ItemStatus): JsonObject {
  const [block] = blocks
  if (block?.kind === 'reasoning') {
    return { id, type: 'reasoning', summary: blocks.map(tellPart), ...sealed(block), status }
  }
  if (block?.kind === 'redacted') return { id, type: 'reasoning', summary: [], ...sealed(block), status }
  if (block?.kind === 'call') {
    const { name, text } = block
    return { id, type: 'function_call', call_id: callIdOf(id, block), name, arguments: text, status }
  }
  return { id, type: 'message', role: 'assistant', content: blocks.map(tellPart), status }
}

/** An item as it is when it begins. */
export function tellNewItem({ id, blocks: [block] }: Item): JsonObject {
  const status = 'in_progress'
  if (block?.kind === 'reasoning' || block?.kind === 'redacted') {
    return { id, type: 'reasoning', summary: [], status }
  }
  if (block?.kind === 'call') {
    const call_id = callIdOf(id, block)
    return { id, type: 'function_call', call_id, name: block.name, arguments: '', status }
  }
  return { id, type: 'message', role: 'assistant', content: [], status }
}

/** A block as a part of its item. */
export function tellPart({ kind, text, logprobs, annotations }: Block): JsonObject {
  if (kind === 'reasoning') return { type: 'summary_text', text }
  if (kind === 'refusal') return { type: 'refusal', refusal: text }
  return { type: 'output_text', text, annotations: annotations.map(tellAnnotation), logprobs }
}

/** A part as it is when it begins. */
export function tellNewPart({ kind }: Block): JsonObject {
  if (kind === 'reasoning') return { type: 'summary_text', text: '' }
  if (kind === 'refusal') return { type: 'refusal', refusal: '' }
  return { type: 'output_text', text: '', annotations: [], logprobs: [] }
}

/** Chat has what a citation says one level deeper. */
export function tellAnnotation(annotation: JsonObject): JsonObject {
  const { type, url_citation: citation } = annotation
  return isObject(citation) ? { type, ...citation } : annotation
}

function isOfMessage({ kind }: Block): boolean {
  return kind === 'text' || kind === 'refusal'
}

function callIdOf(itemId: string, { id, signature }: Block): string {
  return signCallId(id || itemId.replace(/^fc_/, 'call_'), signature)
}

function sealed({ kind, signature, text }: Block): JsonObject {
  const encrypted_content = sealThoughts(kind === 'redacted' ? { data: text } : { signature })
  return encrypted_content === null ? {} : { encrypted_content }
}
