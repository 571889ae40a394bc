import type { EndpointName } from '../../shared/jobs/endpoints.ts'
import { isObject } from './error-body.ts'

type JsonObject = Record<string, unknown>

/** Puts the events of a stream together to the answer that would have come in one piece. */
export type StreamFold = {
  add: (event: JsonObject) => void
  /** What has come so far, as a whole answer; null: nothing of one. */
  whole: () => JsonObject | null
  /** The answer said that it is complete. */
  isFinished: () => boolean
}

/** The fold of an endpoint's events. */
export function createFold(endpoint: EndpointName): StreamFold {
  if (endpoint === 'responses') return foldResponse()
  if (endpoint === 'messages') return foldMessage()
  return foldChoices(endpoint === 'chat' ? 'chat.completion' : 'text_completion')
}

type Choice = { fields: JsonObject; message: JsonObject }

/** Chat completions and completions: choices by their index, each with its text, its calls and why it ended. */
function foldChoices(object: string): StreamFold {
  const choices = new Map<number, Choice>()
  let head: JsonObject | null = null

  function addChoice(part: JsonObject): void {
    const { index, delta, finish_reason: reason, ...others } = part
    const at = typeof index === 'number' ? index : 0
    const choice = choices.get(at) ?? { fields: { index: at }, message: {} }
    choices.set(at, choice)
    merge(choice.fields, others, growsInChoice)
    if (isObject(delta)) merge(choice.message, delta)
    if (typeof reason === 'string') choice.fields['finish_reason'] = reason
  }

  return {
    add(event) {
      const { choices: parts, ...others } = event
      head = head ? fillIn(head, others) : { ...others, object }
      if (isObject(event['usage'])) head['usage'] = event['usage']
      if (Array.isArray(parts)) for (const part of parts) if (isObject(part)) addChoice(part)
    },
    whole() {
      if (!head) return null
      const sorted = [...choices.entries()].toSorted(([a], [b]) => a - b).map(([, choice]) => choice)
      const list = sorted.map(({ fields, message }) => {
        const withEnd = { ...fields, finish_reason: fields['finish_reason'] ?? null }
        return object === 'chat.completion' ? { ...withEnd, message: finishMessage(message) } : withEnd
      })
      return { ...head, choices: list }
    },
    // Of several choices one may be under way when another has ended.
    isFinished: () =>
      choices.size > 0 && [...choices.values()].every(({ fields }) => 'finish_reason' in fields),
  }
}

// Azure begins with an event of its own, whose id and model are empty.
function fillIn(head: JsonObject, others: JsonObject): JsonObject {
  for (const name in others) if (!head[name]) head[name] = others[name]
  return head
}

function finishMessage(message: JsonObject): JsonObject {
  const calls = message['tool_calls']
  const whole: JsonObject = { role: 'assistant', content: null, ...message }
  // An index is what the pieces of a call are put together by; a whole call has none.
  if (Array.isArray(calls)) {
    whole['tool_calls'] = calls.filter(isObject).map(({ index: _index, ...call }) => call)
  }
  return whole
}

/** Names that are said once and whole; all other text grows piece by piece. */
const SAID_ONCE = new Set([
  'id',
  'object',
  'role',
  'type',
  'name',
  'index',
  'finish_reason',
  'format',
  'model',
])

const growsInDelta = (name: string) => !SAID_ONCE.has(name)
// Of what stands beside a delta, completions' text; all else (Azure's content filter) is said again with each chunk.
const growsInChoice = (name: string) => name === 'text'

/** Adds a piece to what has come: texts grow, lists grow (those whose entries have an `index` entry by entry), objects are merged. */
function merge(into: JsonObject, piece: JsonObject, grows = growsInDelta): void {
  for (const [name, value] of Object.entries(piece)) {
    // Whoever wrote to it would write to all objects of this process.
    if (name === '__proto__') continue
    const known = Object.hasOwn(into, name) ? into[name] : undefined
    if (value === null || value === undefined) into[name] ??= value
    else if (typeof value === 'string' && typeof known === 'string')
      into[name] = grows(name) ? known + value : value || known
    else if (Array.isArray(value)) into[name] = mergeList(Array.isArray(known) ? known : [], value)
    else if (isObject(value)) {
      const inner = isObject(known) ? known : {}
      merge(inner, value, grows)
      into[name] = inner
    } else into[name] = value
  }
}

/** The entries of each list by their `index`: looked for one by one, a long list would take hours. */
const entriesOf = new WeakMap<unknown[], Map<number, JsonObject>>()

function mergeList(known: unknown[], pieces: readonly unknown[]): unknown[] {
  const entries = entriesOf.get(known) ?? new Map<number, JsonObject>()
  entriesOf.set(known, entries)
  for (const piece of pieces) {
    if (!isObject(piece)) {
      known.push(piece)
      continue
    }
    const { index } = piece
    const same = typeof index === 'number' ? entries.get(index) : undefined
    if (same) merge(same, piece)
    else {
      const copy = structuredCopy(piece)
      known.push(copy)
      if (typeof index === 'number') entries.set(index, copy)
    }
  }
  return known
}

// What grows must not be the piece that somebody else holds.
function structuredCopy(piece: JsonObject): JsonObject {
  const copy: JsonObject = {}
  merge(copy, piece)
  return copy
}

const RESPONSE_ENDS = new Set(['response.completed', 'response.incomplete'])

/** Responses: the last event about the response as a whole holds it; items that were done stand in for a missing end. */
function foldResponse(): StreamFold {
  let response: JsonObject | null = null
  const items = new Map<number, unknown>()
  let isFinished = false
  return {
    add({ type, response: told, item, output_index: index }) {
      if (isObject(told)) response = told
      if (type === 'response.output_item.done' && typeof index === 'number') items.set(index, item)
      if (typeof type === 'string' && RESPONSE_ENDS.has(type)) isFinished = true
    },
    whole() {
      if (!response || isFinished) return response
      const done = [...items.entries()].toSorted(([a], [b]) => a - b).map(([, one]) => one)
      return { ...response, output: done }
    },
    isFinished: () => isFinished,
  }
}

/** Anthropic's messages: blocks by their index; a tool's input comes as text of JSON. */
function foldMessage(): StreamFold {
  let message: JsonObject | null = null
  const blocks = new Map<number, JsonObject>()
  const inputs = new Map<number, string>()
  let isFinished = false

  function addDelta(at: number, delta: JsonObject): void {
    const block = blocks.get(at) ?? {}
    blocks.set(at, block)
    const { type, partial_json: json, ...others } = delta
    if (type === 'input_json_delta') inputs.set(at, (inputs.get(at) ?? '') + String(json))
    else if (type === 'citations_delta')
      block['citations'] = mergeList(listOf(block['citations']), [delta['citation']])
    else merge(block, others)
  }

  return {
    add(event) {
      const { type, index, message: told, content_block: block, delta, usage } = event
      const at = typeof index === 'number' ? index : 0
      if (type === 'message_start' && isObject(told)) message = structuredCopy(told)
      else if (type === 'content_block_start' && isObject(block)) blocks.set(at, structuredCopy(block))
      else if (type === 'content_block_delta' && isObject(delta)) addDelta(at, delta)
      else if (type === 'message_delta' && message) {
        if (isObject(delta)) Object.assign(message, delta)
        if (isObject(usage))
          message['usage'] = { ...(isObject(message['usage']) ? message['usage'] : {}), ...usage }
      } else if (type === 'message_stop') isFinished = true
    },
    whole() {
      if (!message) return null
      const sorted = [...blocks.entries()].toSorted(([a], [b]) => a - b)
      const content = sorted.map(([at, block]) =>
        inputs.has(at) ? { ...block, input: inputOf(inputs.get(at)) } : block,
      )
      return { ...message, content }
    },
    isFinished: () => isFinished,
  }
}

function listOf(value: unknown): unknown[] {
  return Array.isArray(value) ? value : []
}

// A call that was cut off has half an object.
function inputOf(text = ''): unknown {
  try {
    return JSON.parse(text === '' ? '{}' : text)
  } catch {
    return text
  }
}
