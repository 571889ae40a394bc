import type {
  LanguageModelV4Content,
  LanguageModelV4StreamPart,
  LanguageModelV4Text,
  LanguageModelV4Reasoning,
  LanguageModelV4ToolCall,
  SharedV4ProviderMetadata,
} from '@ai-sdk/provider'
import { signatureOf } from './part-options.ts'

type Block = LanguageModelV4Text | LanguageModelV4Reasoning

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
  const blocks = createBlocks(content)
  const calls = createOpenCalls()
  return {
    add(part) {
      blocks.add(part)
      calls.add(part)
      if (part.type === 'tool-call' || part.type === 'file') content.push(part)
    },
    // A call that was cut off in the middle is told as far as it came.
    content: () => [...content, ...calls.left()],
    block: blocks.find,
  }
}

/** Blocks of text and of thinking, by kind and id: some servers begin a block as text and go on with thinking. */
function createBlocks(content: LanguageModelV4Content[]) {
  const blocks = new Map<string, Block>()

  function blockOf(kind: Block['type'], id: string): Block {
    const known = blocks.get(kind + id)
    if (known) return known
    const block: Block = { type: kind, text: '' }
    blocks.set(kind + id, block)
    content.push(block)
    return block
  }

  return {
    add(part: LanguageModelV4StreamPart): void {
      const [, kind] = /^(text|reasoning)-(?:start|delta|end)$/.exec(part.type) ?? []
      if ((kind !== 'text' && kind !== 'reasoning') || !('id' in part) || part.id === undefined) return
      const block = blockOf(kind, part.id)
      if ('delta' in part) block.text += part.delta
      if ('providerMetadata' in part) keep(block, part.providerMetadata)
    },
    find: (kind: Block['type'], id: string) => blocks.get(kind + id) ?? null,
  }
}

/** Calls that have begun and are not whole yet. */
function createOpenCalls() {
  const open = new Map<string, LanguageModelV4ToolCall>()
  return {
    add(part: LanguageModelV4StreamPart): void {
      if (part.type === 'tool-input-start' && !part.providerExecuted) {
        const { id, toolName, providerMetadata } = part
        open.set(id, { type: 'tool-call', toolCallId: id, toolName, input: '', providerMetadata })
      } else if (part.type === 'tool-input-delta') {
        const call = open.get(part.id)
        if (call) call.input += part.delta
      } else if (part.type === 'tool-call') open.delete(part.toolCallId)
    },
    left: () => open.values(),
  }
}

/** A signature may come with any piece of its block, most often the last; a later piece without one takes nothing away. */
function keep(block: Block, metadata: SharedV4ProviderMetadata | undefined): void {
  if (!metadata) return
  if (
    block.providerMetadata &&
    signatureOf(metadata) === null &&
    signatureOf(block.providerMetadata) !== null
  )
    return
  block.providerMetadata = metadata
}
