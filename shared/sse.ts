import { createParser } from 'eventsource-parser'

/** One server-sent event: its name where it has one, and its data, usually JSON. */
export type SseEvent = { event?: string | undefined; data: string }

/** An event as it goes over the wire. Never with `id:` or `retry:` lines: Python's SDK stumbles over both. */
export function formatSse({ event, data }: SseEvent): string {
  const name = event === undefined ? '' : `event: ${event}\n`
  return `${name}data: ${data.replaceAll('\n', '\ndata: ')}\n\n`
}

/**
 * Reads events out of bytes that come in pieces.
 * @returns a function that takes the next piece and gives the events that are complete with it.
 */
export function createSseReader(): (piece: Uint8Array) => SseEvent[] {
  const decoder = new TextDecoder()
  let complete: SseEvent[] = []
  const parser = createParser({ onEvent: ({ event, data }) => complete.push({ event, data }) })
  return (piece) => {
    complete = []
    parser.feed(decoder.decode(piece, { stream: true }))
    return complete
  }
}
