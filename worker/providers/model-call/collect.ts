import type {
  LanguageModelV4Content,
  LanguageModelV4StreamPart,
  LanguageModelV4Text,
  LanguageModelV4Reasoning,
  SharedV4ProviderMetadata,
} from '@ai-sdk/provider'
import { signatureOf } from './part-options.ts'

type Block = LanguageModelV4Text | LanguageModelV4Reasoning
type OpenCall = {
  toolCallId: string
  toolName: string
  input: string
  providerMetadata?: SharedV4ProviderMetadata
}

/** Puts the parts of a stream together to the content that would have come in one piece. */
export type Collector = {
  add: (part: LanguageModelV4StreamPart) => void
  content: () => LanguageModelV4Content[]
  /** A block of thinking or text by its id; null: there is none. */
  block: (kind: Block['type'], id: string) => Block | null
}

/** Makes an empty one. */
export function createCollector(): Collector {
  const content: LanguageModelV4Content[] = []
  // By kind and id: some servers begin a block as text and go on with thinking.
  const blocks = new Map<string, Block>()
  const open = new Map<string, OpenCall>()

  function start(kind: Block['type'], id: string, metadata: SharedV4ProviderMetadata | undefined): Block {
    const block: Block = { type: kind, text: '' }
    keep(block, metadata)
    blocks.set(kind + id, block)
    content.push(block)
    return block
  }

  function grow(kind: Block['type'], id: string, delta: string, metadata?: SharedV4ProviderMetadata): void {
    const block = blocks.get(kind + id) ?? start(kind, id, metadata)
    block.text += delta
    keep(block, metadata)
  }

  return {
    add(part) {
      switch (part.type) {
        case 'text-start':
        case 'reasoning-start':
          start(part.type === 'text-start' ? 'text' : 'reasoning', part.id, part.providerMetadata)
          break
        case 'text-delta':
          grow('text', part.id, part.delta, part.providerMetadata)
          break
        case 'reasoning-delta':
          grow('reasoning', part.id, part.delta, part.providerMetadata)
          break
        case 'text-end':
        case 'reasoning-end':
          keep(blocks.get(part.type.replace('-end', '') + part.id), part.providerMetadata)
          break
        case 'tool-input-start':
          if (!part.providerExecuted) {
            open.set(part.id, {
              toolCallId: part.id,
              toolName: part.toolName,
              input: '',
              providerMetadata: part.providerMetadata,
            })
          }
          break
        case 'tool-input-delta': {
          const call = open.get(part.id)
          if (call) call.input += part.delta
          break
        }
        case 'tool-call':
          open.delete(part.toolCallId)
          content.push(part)
          break
        case 'file':
          content.push(part)
          break
        default:
      }
    },
    // A call that was cut off in the middle is told as far as it came.
    content: () => [
      ...content,
      ...[...open.values()].map((call) => ({ type: 'tool-call' as const, ...call })),
    ],
    block: (kind, id) => blocks.get(kind + id) ?? null,
  }
}

/** A signature may come with any piece of its block, most often the last; a later piece without one takes nothing away. */
function keep(block: Block | undefined, metadata: SharedV4ProviderMetadata | undefined): void {
  if (!block || !metadata) return
  if (
    block.providerMetadata &&
    signatureOf(metadata) === null &&
    signatureOf(block.providerMetadata) !== null
  )
    return
  block.providerMetadata = metadata
}
