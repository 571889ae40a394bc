import type { SseEvent } from '../../shared/sse.ts'
import { createChatAnswer } from './chat-answer.ts'
import type { Block, BlockEvent, GrowEvent } from './chat-blocks.ts'
import { incompleteReason, tellResponse, type AnswerState } from './responses-answer.ts'
import {
  belongsTo,
  newItem,
  tellAnnotation,
  tellItem,
  tellNewItem,
  tellNewPart,
  tellPart,
  type Item,
  type ItemStatus,
} from './responses-items.ts'
import type { StreamTranslation } from './translation.ts'

type JsonObject = Record<string, unknown>

/** Where in the answer an event belongs: the item, and which part of it. */
type Place = { at: { item_id: string; output_index: number }; part: number }

/**
 * The events of a Response: `created`, `in_progress`, then each item with its parts from `added` over its deltas to `done`,
 * one item after the other, then `completed` or `incomplete`. Only events that the official SDKs know: their helper throws
 * on any other.
 *
 * @see https://platform.openai.com/docs/api-reference/responses-streaming
 */
export function streamResponse(request: JsonObject): StreamTranslation {
  const chat = createChatAnswer()
  const items = createItems()
  let state: AnswerState = 'running'
  let sequence = 0
  let hasBegun = false

  const whole = () => tellResponse(chat.read(), request, state)
  const number = (event: JsonObject): SseEvent => {
    const { type, ...fields } = event
    const data = JSON.stringify({ type, sequence_number: sequence++, ...fields })
    return { event: String(type), data }
  }

  function begin(): JsonObject[] {
    if (hasBegun) return []
    hasBegun = true
    items.begin(chat.read().idStem)
    // What the first chunk brought is told by the events after these.
    const response = { ...whole(), output: [] }
    return [
      { type: 'response.created', response },
      { type: 'response.in_progress', response },
    ]
  }

  return {
    chunk(chunk) {
      const told = chat.add(chunk)
      if (!chat.hasBegun()) return []
      return [...begin(), ...told.flatMap(items.tell)].map(number)
    },
    end() {
      const first = begin()
      const told = chat.end().flatMap(items.tell)
      state = 'ended'
      const isCut = incompleteReason(chat.read()) !== null
      const closed = items.close(isCut ? 'incomplete' : 'completed')
      const type = isCut ? 'response.incomplete' : 'response.completed'
      return [...first, ...told, ...closed, { type, response: whole() }].map(number)
    },
    answer: whole,
  }
}

/** The events of the items, of which one is open at a time. */
function createItems() {
  let idStem = ''
  let count = 0
  let item: Item | undefined

  function close(status: ItemStatus): JsonObject[] {
    if (!item) return []
    const done = { output_index: count - 1, item: tellItem(item, status) }
    item = undefined
    return [{ type: 'response.output_item.done', ...done }]
  }

  function open(block: Block): JsonObject[] {
    if (item && belongsTo(item, block)) {
      item.blocks.push(block)
      return []
    }
    const closed = close('completed')
    item = newItem(idStem, count, block)
    count += 1
    const added = { output_index: count - 1, item: tellNewItem(item) }
    return [...closed, { type: 'response.output_item.added', ...added }]
  }

  function tell(event: BlockEvent): JsonObject[] {
    const { kind, block } = event
    const opened = kind === 'open' ? open(block) : []
    // What only its maker can read comes with its item.
    if (!item || block.kind === 'redacted') return opened
    const at = { item_id: item.id, output_index: count - 1 }
    const place = { at, part: item.blocks.length - 1 }
    if (kind === 'open') return [...opened, ...tellOpened(place, block)]
    return kind === 'grow' ? tellGrown(place, event) : tellClosed(place, block)
  }

  return { begin: (stem: string) => void (idStem = stem), tell, close }
}

/** The events of a part, and of a call's arguments, which are no part. */
function tellOpened({ at, part }: Place, block: Block): JsonObject[] {
  if (block.kind === 'call') return []
  const added = { ...at, ...indexOf(block, part), part: tellNewPart(block) }
  return [{ type: `${partEvent(block)}.added`, ...added }]
}

function tellGrown({ at, part }: Place, event: GrowEvent): JsonObject[] {
  const { block, text, logprobs, annotations, known } = event
  if (block.kind === 'call') return [{ type: 'response.function_call_arguments.delta', ...at, delta: text }]
  const index = indexOf(block, part)
  const tokens = block.kind === 'text' ? { logprobs } : {}
  const delta = { type: `${textEvent(block)}.delta`, ...at, ...index, delta: text, ...tokens }
  const notes = annotations.map((annotation, place) => ({
    type: 'response.output_text.annotation.added',
    ...at,
    ...index,
    annotation_index: known + place,
    annotation: tellAnnotation(annotation),
  }))
  return text === '' ? notes : [delta, ...notes]
}

function tellClosed({ at, part }: Place, block: Block): JsonObject[] {
  const { kind, name, text, logprobs } = block
  if (kind === 'call') {
    return [{ type: 'response.function_call_arguments.done', ...at, name, arguments: text }]
  }
  const index = indexOf(block, part)
  const said = kind === 'refusal' ? { refusal: text } : { text }
  const tokens = kind === 'text' ? { logprobs } : {}
  return [
    { type: `${textEvent(block)}.done`, ...at, ...index, ...said, ...tokens },
    { type: `${partEvent(block)}.done`, ...at, ...index, part: tellPart(block) },
  ]
}

function indexOf({ kind }: Block, part: number): JsonObject {
  return kind === 'reasoning' ? { summary_index: part } : { content_index: part }
}

function partEvent({ kind }: Block): string {
  return kind === 'reasoning' ? 'response.reasoning_summary_part' : 'response.content_part'
}

function textEvent({ kind }: Block): string {
  if (kind === 'reasoning') return 'response.reasoning_summary_text'
  return kind === 'refusal' ? 'response.refusal' : 'response.output_text'
}
