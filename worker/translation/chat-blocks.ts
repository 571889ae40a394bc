import type { Piece } from './chat-pieces.ts'
import { createJsonEnd } from './json-end.ts'

type JsonObject = Record<string, unknown>
type CallPiece = Extract<Piece, { kind: 'call' }>

/** A part of an answer: what comes one after the other in the forms that chat completions are translated to. */
export type Block = {
  kind: Piece['kind']
  /** All of it so far; of a call its arguments. */
  text: string
  /** Of reasoning or a call: its maker's signature, empty where there is none. */
  signature: string
  logprobs: unknown[]
  annotations: JsonObject[]
  /** Of a call. The id is empty when the provider gave none. */
  id: string
  name: string
}

/** What became of a block: told in the order of the blocks, each closed before the next is opened. */
export type BlockEvent = { kind: 'open'; block: Block } | GrowEvent | { kind: 'close'; block: Block }

/** `known`: how many annotations the block had before. */
export type GrowEvent = {
  kind: 'grow'
  block: Block
  text: string
  logprobs: unknown[]
  annotations: JsonObject[]
  known: number
}

/** A block with what has not been told of it. */
type Entry = {
  block: Block
  state: 'waiting' | 'open' | 'closed'
  untold: Piece[]
  isSigned: boolean
  /** Of a call: the arguments that were told are complete. `readEnd` is given the next of them and says so. */
  isWhole: boolean
  readEnd: (text: string) => boolean
}

/**
 * Makes blocks of the pieces of an answer. Chat completions may send several calls at once, piece by piece in turn; what
 * comes for a block whose turn has not come waits. A call's turn is over when its arguments are complete and something
 * else has begun, every other block's when something else has begun.
 */
export function createBlocks() {
  const { entries, take } = createEntries()
  let turn = 0

  function close(entry: Entry): BlockEvent {
    turn += 1
    entry.state = 'closed'
    return { kind: 'close', block: entry.block }
  }

  return {
    add(pieces: readonly Piece[]): BlockEvent[] {
      for (const piece of pieces) take(piece)
      const events: BlockEvent[] = []
      for (let entry = entries[turn]; entry; entry = entries[turn]) {
        // A call must be opened with its name.
        if (entry.block.kind === 'call' && entry.block.name === '') break
        for (const event of tell(entry)) events.push(event)
        if (turn === entries.length - 1 || (entry.block.kind === 'call' && !entry.isWhole)) break
        events.push(close(entry))
      }
      return events
    },
    /** @param isCut The answer stopped at a limit: a call without arguments is not whole then. */
    end(isCut: boolean): BlockEvent[] {
      const events: BlockEvent[] = []
      for (let entry = entries[turn]; entry; entry = entries[turn]) {
        // Some servers leave out the arguments of a call without any; clients parse what is there.
        if (needsArguments(entry, isCut)) entry.untold.push(NO_ARGUMENTS)
        for (const event of tell(entry)) events.push(event)
        events.push(close(entry))
      }
      return events
    },
    /** The blocks that were opened, in their order. */
    list: (): readonly Block[] =>
      entries.filter(({ state }) => state !== 'waiting').map(({ block }) => block),
  }
}

/** All that was not told of the block whose turn it is. */
function tell(entry: Entry): BlockEvent[] {
  const { block, untold } = entry
  const events: BlockEvent[] = entry.state === 'open' ? [] : [{ kind: 'open', block }]
  entry.state = 'open'
  entry.untold = []
  for (const piece of untold) {
    if (piece.kind === 'call') entry.isWhole = entry.readEnd(piece.text)
    const grown = grow(block, piece)
    if (grown) events.push(grown)
  }
  return events
}

/** Puts each piece to the block that it belongs to. */
function createEntries() {
  const entries: Entry[] = []
  const findCall = createCallFinder()

  function take(piece: Piece): void {
    const known = piece.kind === 'call' ? findCall(piece) : findLike(entries.at(-1), piece)
    const entry = known ?? newEntry(piece.kind)
    if (!known) entries.push(entry)
    if (piece.kind === 'call') findCall.remember(piece, entry)
    label(entry, piece)
    if (piece.kind === 'reasoning' && piece.signature !== '') entry.isSigned = true
    // What a provider adds to a call that was already told as complete has no place any more.
    if (entry.state !== 'closed') entry.untold.push(piece)
  }

  return { entries, take }
}

const NO_ARGUMENTS: Piece = { kind: 'call', text: '{}', index: null, id: '', name: '', signature: '' }

function needsArguments({ block, untold }: Entry, isCut: boolean): boolean {
  if (block.kind !== 'call' || isCut) return false
  return block.text.trim() === '' && untold.every(({ text }) => text.trim() === '')
}

function newEntry(kind: Piece['kind']): Entry {
  const block = { kind, text: '', signature: '', logprobs: [], annotations: [], id: '', name: '' }
  return { block, state: 'waiting', untold: [], isSigned: false, isWhole: false, readEnd: createJsonEnd() }
}

function findLike(last: Entry | undefined, { kind }: Piece): Entry | undefined {
  // A signature ends a block of reasoning.
  return last?.block.kind === kind && kind !== 'redacted' && !last.isSigned ? last : undefined
}

/**
 * Finds a call by its index, else by its id, else it is the last. Gemini's API says index 0 of all of its calls: another
 * id beside a name is another call.
 */
function createCallFinder() {
  const byIndex = new Map<number, Entry>()
  const byId = new Map<string, Entry>()
  let last: Entry | undefined

  const find = ({ index, id, name }: CallPiece): Entry | undefined => {
    const named = id === '' ? undefined : byId.get(id)
    if (index === null) return named ?? (id === '' && name === '' ? last : undefined)
    const found = byIndex.get(index)
    const isOther = found && id !== '' && name !== '' && found.block.id !== '' && found.block.id !== id
    return isOther ? named : found
  }
  const remember = ({ index, id }: CallPiece, entry: Entry): void => {
    if (index !== null) byIndex.set(index, entry)
    if (id !== '') byId.set(id, entry)
    last = entry
  }
  return Object.assign(find, { remember })
}

/** A name or id that comes after a call was opened is too late. */
function label({ block, state }: Entry, piece: Piece): void {
  if (piece.kind !== 'call' || state !== 'waiting') return
  block.id ||= piece.id
  block.name ||= piece.name
  block.signature ||= piece.signature
}

function grow(block: Block, piece: Piece): GrowEvent | null {
  const known = block.annotations.length
  block.text += piece.text
  if (piece.kind === 'reasoning') block.signature += piece.signature
  const { logprobs, annotations } = piece.kind === 'text' ? piece : { logprobs: [], annotations: [] }
  for (const token of logprobs) block.logprobs.push(token)
  for (const note of annotations) block.annotations.push(note)
  const isGrown = piece.text !== '' || annotations.length > 0
  return isGrown ? { kind: 'grow', block, text: piece.text, logprobs, annotations, known } : null
}
