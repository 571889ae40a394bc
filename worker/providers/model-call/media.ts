import type { LanguageModelV4FilePart } from '@ai-sdk/provider'
import { OutboundError } from '../../outbound-error.ts'
import { readHeader } from '../../header-time.ts'
import type { Outbound } from '../../outbound.ts'
import type { ProviderCall } from '../provider.ts'
import { concreteMediaType, mediaTypeOfName, sniffMediaType } from './media-type.ts'
import { RequestFault } from './request-fault.ts'

/** As large as the largest file that a provider takes inline; all files of one request together. */
const FILES_BYTES_MAX = 30 * 1024 * 1024
/** As many as Claude takes images; each may be at another host, and none of them has asked for it. */
const FILES_MAX = 100
const REDIRECTS_MAX = 3
const CONNECT_MS = 10_000

/** A file as a request names it. */
export type MediaSource = {
  /** A data URL, or the address that it is fetched from. */
  url: string
  /** What the request says of its type, which may be wrong or `image/*`. */
  mediaType?: string | undefined
  filename?: string | undefined
  /** Where it stands, as `messages[0].content[1]`. */
  place: string
}

type FileFields = Pick<LanguageModelV4FilePart, 'data' | 'mediaType' | 'filename'>

/** Turns files of a request into what goes to the provider. */
export type MediaLoader = (source: MediaSource) => Promise<FileFields>

/**
 * Makes the loader of one call. What the provider fetches by itself stays an address; all else is fetched here, through the
 * guarded door whatever base the call has: the address is the client's. Beside the operator's credential none stays that is
 * opened by it, or every client could read what the operator's account can.
 * @param options.urlType As what type the provider can be given this address; null: it can't.
 * @throws {RequestFault} by the loader, for a file that can't be had.
 */
export function createMediaLoader(
  outbound: Outbound,
  call: Pick<ProviderCall, 'bundle' | 'timeoutMs' | 'signal'>,
  options: { urlType: (url: URL, mediaType: string | null) => string | null; startedAt: number },
): MediaLoader {
  const download = createDownload(outbound, call, options.startedAt)
  return async (source) => {
    const { url, place, filename } = source
    const name = filename === undefined ? {} : { filename }
    if (/^data:/i.test(url)) return { ...readDataUrl(source), ...name }
    const parsed = URL.parse(url)
    if (!parsed) throw new RequestFault(`${place} is neither a data URL nor an address.`, place)
    const said = concreteMediaType(source.mediaType) ?? mediaTypeOfName(filename ?? parsed.pathname)
    const named = options.urlType(parsed, said)
    if (named !== null) {
      if (call.bundle.is_operators && isStored(parsed))
        throw new RequestFault(`${place} ${NOT_THE_CLIENTS}`, place)
      return { data: { type: 'url', url: parsed }, mediaType: named, ...name }
    }
    const { body, type } = await download(url, place)
    const mediaType = sniffMediaType(body) ?? concreteMediaType(type) ?? said
    if (mediaType === null) throw new RequestFault(`${place}: the type of the file can't be told.`, place)
    return { data: { type: 'data', data: body.toString('base64') }, mediaType, ...name }
  }
}

/** What lies behind a credential: a provider opens it with the one it is called with. */
function isStored({ protocol, hostname }: URL): boolean {
  return protocol === 's3:' || protocol === 'gs:' || hostname === 'generativelanguage.googleapis.com'
}

const NOT_THE_CLIENTS =
  "lies in a store that the operator's own credential would open. Send the file itself, or a public address of it."

/** What fetches files for one call: all together within its time and one cap. */
function createDownload(
  outbound: Outbound,
  { timeoutMs, signal }: Pick<ProviderCall, 'timeoutMs' | 'signal'>,
  startedAt: number,
) {
  let restBytes = FILES_BYTES_MAX
  let files = 0

  async function get(url: string, place: string) {
    const leftMs = Math.max(1, Math.round(timeoutMs - (performance.now() - startedAt)))
    const connectMs = Math.min(CONNECT_MS, leftMs)
    const timeouts = { connectMs, firstByteMs: leftMs, idleMs: leftMs, totalMs: leftMs }
    const headers = { accept: '*/*', 'user-agent': 'byok-gateway' }
    try {
      return await outbound.get({ url, headers, timeouts, maxResponseBytes: restBytes, signal })
    } catch (error) {
      if (!(error instanceof OutboundError)) throw error
      // Whatever its server has seen, no model was asked.
      if (error.kind === 'aborted') throw new OutboundError('aborted', false, error.message)
      throw unfetched(place, error.message)
    }
  }

  return async (url: string, place: string) => {
    files += 1
    if (files > FILES_MAX) throw unfetched(place, `A request may name ${FILES_MAX} of them.`)
    let at = url
    for (let hop = 0; hop <= REDIRECTS_MAX; hop += 1) {
      const { status, headers, body } = await get(at, place)
      const location = readHeader(headers, 'location')
      // Also what comes with a redirect has come.
      restBytes -= body.length
      if (status === 200) {
        return { body, type: readHeader(headers, 'content-type') }
      }
      if (status < 300 || status >= 400 || location === null) {
        throw unfetched(place, `Its server answered ${status}.`)
      }
      // Each hop is checked like the first, by the door.
      at = URL.parse(location, at)?.href ?? ''
    }
    throw unfetched(place, 'Its address leads on and on.')
  }
}

function unfetched(place: string, why: string): RequestFault {
  return new RequestFault(`${place}: the file could not be fetched. ${why}`, place, 'invalid_image_url')
}

/** A data URL (RFC 2397). What its first bytes say wins: clients write `image/jpeg` before all there is. */
function readDataUrl({ url, mediaType, filename, place }: MediaSource): FileFields {
  const comma = url.indexOf(',')
  const head = url.slice('data:'.length, Math.max(comma, 0))
  if (comma === -1) throw new RequestFault(`${place} is no data URL: it has no comma.`, place)
  const data = /;\s*base64$/i.test(head) ? url.slice(comma + 1) : encodeText(url.slice(comma + 1), place)
  const start = Buffer.from(data.slice(0, 64), 'base64')
  const type =
    sniffMediaType(start) ??
    concreteMediaType(head) ??
    concreteMediaType(mediaType) ??
    mediaTypeOfName(filename ?? '')
  if (type === null) throw new RequestFault(`${place}: the type of the file can't be told.`, place)
  return { data: { type: 'data', data }, mediaType: type }
}

function encodeText(text: string, place: string): string {
  try {
    return Buffer.from(decodeURIComponent(text)).toString('base64')
  } catch {
    throw new RequestFault(`${place} is no data URL: it is not percent-encoded.`, place)
  }
}
