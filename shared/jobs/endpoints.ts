/** The request forms that jobs are made of: OpenAI's text endpoints, and Anthropic's messages. */
export type EndpointName = 'chat' | 'completions' | 'embeddings' | 'moderations' | 'responses' | 'messages'

export type Endpoint = {
  name: EndpointName
  /** As it is written in a job and in a batch line. */
  path: string
  /** `stream: true` has a meaning there. */
  canStream: boolean
}

/** Every endpoint that is served, in the order of the docs. */
export const ENDPOINTS: readonly Endpoint[] = [
  { name: 'chat', path: '/v1/chat/completions', canStream: true },
  { name: 'responses', path: '/v1/responses', canStream: true },
  { name: 'messages', path: '/v1/messages', canStream: true },
  { name: 'completions', path: '/v1/completions', canStream: true },
  { name: 'embeddings', path: '/v1/embeddings', canStream: false },
  { name: 'moderations', path: '/v1/moderations', canStream: false },
]

const BY_PATH: ReadonlyMap<string, Endpoint> = new Map(ENDPOINTS.map((endpoint) => [endpoint.path, endpoint]))
const BY_NAME: ReadonlyMap<string, Endpoint> = new Map(ENDPOINTS.map((endpoint) => [endpoint.name, endpoint]))

/** An endpoint by its path; null when it is not served. */
export function endpointAt(path: string): Endpoint | null {
  return BY_PATH.get(path) ?? null
}

/** An endpoint by its name. */
export function endpointNamed(name: EndpointName): Endpoint {
  const endpoint = BY_NAME.get(name)
  if (!endpoint) throw new Error(`There is no endpoint ${name}.`)
  return endpoint
}
