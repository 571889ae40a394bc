/** Things of a tenant that a path can name. */
export type Kind =
  | 'job'
  | 'response'
  | 'file'
  | 'batch'
  | 'endpoint'
  | 'delivery'
  | 'event'
  | 'credential'
  | 'tenant'
  | 'key'

/** What a route is, as far as it matters whose key calls it. */
export type Route = {
  /** What its `{id}` names: another tenant's is as one that there is not. */
  id?: Kind
  /** What it lists. */
  lists?: Kind
  /** A body that passes its schema, where `{}` does not. */
  body?: object
  /** What a key must be for, where the method does not tell: GET is `read`, all else `submit`. */
  scope?: 'submit' | 'admin' | 'master'
}

/**
 * Every route of `/openapi.json`. Whoever adds one writes it down here: `test/e2e/all-routes.test.ts` then holds it to the
 * borders of tenants and to scopes.
 */
export const ROUTES: Readonly<Record<string, Route>> = {
  'POST /v1/chat/completions': {},
  'POST /v1/messages': {},
  'POST /v1/completions': {},
  'POST /v1/embeddings': {},
  'POST /v1/moderations': {},
  'POST /v1/plan': {},

  'POST /v1/responses': {},
  'GET /v1/responses/{id}': { id: 'response' },
  'DELETE /v1/responses/{id}': { id: 'response' },
  'POST /v1/responses/{id}/cancel': { id: 'response' },
  'GET /v1/responses/{id}/input_items': { id: 'response' },

  'POST /v1/jobs': {},
  'GET /v1/jobs': { lists: 'job' },
  'GET /v1/jobs/{id}': { id: 'job' },
  'DELETE /v1/jobs/{id}': { id: 'job' },
  'GET /v1/jobs/{id}/result': { id: 'job' },
  'POST /v1/jobs/{id}/cancel': { id: 'job' },
  'POST /v1/jobs/{id}/retry': { id: 'job' },
  'GET /v1/jobs/{id}/events': { id: 'job' },
  'POST /v1/jobs/cancel': {},
  'POST /v1/jobs/retry': {},

  'POST /v1/files': {},
  'GET /v1/files': { lists: 'file' },
  'GET /v1/files/{id}': { id: 'file' },
  'DELETE /v1/files/{id}': { id: 'file' },
  'GET /v1/files/{id}/content': { id: 'file' },

  'POST /v1/batches': {},
  'GET /v1/batches': { lists: 'batch' },
  'GET /v1/batches/{id}': { id: 'batch' },
  'POST /v1/batches/{id}/cancel': { id: 'batch' },
  'POST /v1/batches/{id}/retry': { id: 'batch' },
  'GET /v1/batches/{id}/events': { id: 'batch' },
  'GET /v1/batches/{id}/output': { id: 'batch' },
  'GET /v1/batches/{id}/requests': { id: 'batch' },

  'POST /v1/credentials': {},
  'GET /v1/credentials': { lists: 'credential' },
  'GET /v1/credentials/{id}': { id: 'credential' },
  'POST /v1/credentials/{id}': { id: 'credential', body: { name: 'taken' } },
  'DELETE /v1/credentials/{id}': { id: 'credential' },

  'POST /v1/webhook_endpoints': {},
  'GET /v1/webhook_endpoints': { lists: 'endpoint' },
  'GET /v1/webhook_endpoints/{id}': { id: 'endpoint' },
  'POST /v1/webhook_endpoints/{id}': { id: 'endpoint', body: { name: 'taken' } },
  'DELETE /v1/webhook_endpoints/{id}': { id: 'endpoint' },
  'POST /v1/webhook_endpoints/{id}/rotate_secret': { id: 'endpoint' },
  'POST /v1/webhook_endpoints/{id}/test': { id: 'endpoint', body: { event_type: 'job.completed' } },
  'GET /v1/webhook_endpoints/{id}/deliveries': { id: 'endpoint' },
  'POST /v1/webhook_endpoints/{id}/recover': { id: 'endpoint', body: { since: 1 } },
  'GET /v1/webhook_deliveries': { lists: 'delivery' },
  'GET /v1/webhook_deliveries/{id}': { id: 'delivery' },
  'POST /v1/webhook_deliveries/{id}/redeliver': { id: 'delivery' },
  'GET /v1/webhook_event_types': {},
  'GET /v1/webhook_secret': { scope: 'submit' },
  'GET /v1/events': { lists: 'event' },
  'GET /v1/events/{id}': { id: 'event' },

  'GET /v1/models': {},
  'GET /v1/models/{*}': {},

  'GET /v1/limits': {},
  'GET /v1/usage': {},

  'POST /v1/admin/tenants': { scope: 'master' },
  'GET /v1/admin/tenants': { lists: 'tenant', scope: 'admin' },
  'GET /v1/admin/tenants/{id}': { id: 'tenant', scope: 'admin' },
  'POST /v1/admin/tenants/{id}': { id: 'tenant', body: { name: 'taken' }, scope: 'admin' },
  'DELETE /v1/admin/tenants/{id}': { scope: 'master' },
  'GET /v1/admin/tenants/{id}/usage': { id: 'tenant', scope: 'admin' },
  'POST /v1/admin/tenants/{id}/keys': { id: 'tenant', scope: 'admin' },
  'GET /v1/admin/tenants/{id}/keys': { id: 'tenant', scope: 'admin' },
  'GET /v1/admin/keys/{id}': { id: 'key', scope: 'admin' },
  'POST /v1/admin/keys/{id}': { id: 'key', body: { name: 'taken' }, scope: 'admin' },
  'DELETE /v1/admin/keys/{id}': { id: 'key', scope: 'admin' },
}

/** What a key must be for to call a route, by the table's words. */
export function scopeOf(name: string): 'read' | 'submit' | 'admin' | 'master' {
  return ROUTES[name]?.scope ?? (name.startsWith('GET ') ? 'read' : 'submit')
}

/** An id of the same form that nobody has. */
export function unknownLike(id: string): string {
  const start = id.search(/[_-]/) + 1
  const turned = id.slice(start).split('').toReversed().join('')
  return id.slice(0, start) + turned
}
