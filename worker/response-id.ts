import { createSseReader } from '../shared/sse.ts'
import { isObject, parseJson } from './providers/error-body.ts'
import type { CallOutcome, Provider, ProviderCall } from './providers/provider.ts'

/** Calls a provider for a response that goes by an id of our own: theirs is put aside for it wherever it is said, all else is as it came. */
export async function callForResponse(
  provider: Provider,
  call: ProviderCall,
  ownId: string,
): Promise<CallOutcome> {
  const rename = createRename(ownId)
  const { sink } = call
  const renaming = sink && { write: (events: Uint8Array) => sink.write(rename.events(events)) }
  const outcome = await provider.call({ ...call, sink: renaming })
  if (outcome.kind === 'reply') {
    return { kind: 'reply', reply: { ...outcome.reply, body: rename.whole(outcome.reply.body) } }
  }
  return outcome.partial ? { ...outcome, partial: rename.whole(outcome.partial) } : outcome
}

function createRename(ownId: string) {
  let theirs: string | null = null

  function replace(bytes: Uint8Array): Buffer {
    const text = Buffer.from(bytes).toString()
    return Buffer.from(
      theirs === null ? text : text.replaceAll(JSON.stringify(theirs), JSON.stringify(ownId)),
    )
  }

  return {
    events(bytes: Uint8Array): Buffer {
      // The first event that is about the response as a whole says it.
      theirs ??=
        createSseReader()(bytes)
          .map(({ data }) => idOf(parseJson(data), 'response'))
          .find(Boolean) ?? null
      return replace(bytes)
    },
    whole(body: Buffer): Buffer {
      theirs ??= idOf({ whole: parseJson(body) }, 'whole') || null
      return replace(body)
    },
  }
}

function idOf(holder: unknown, name: string): string | null {
  const response = isObject(holder) ? holder[name] : null
  return isObject(response) && typeof response['id'] === 'string' ? response['id'] : null
}
