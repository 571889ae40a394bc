import type { FastifyInstance } from 'fastify'
import type { ZodTypeProvider } from 'fastify-type-provider-zod'
import { z } from 'zod'
import { changedSecret, checkSecret } from '../../shared/credentials/credential-checks.ts'
import type { CredentialRecord } from '../../shared/credentials/credential-record.ts'
import { InvalidRequestError, NotFoundError } from '../../shared/errors.ts'
import type { PlanDependencies } from '../../shared/plans/plan.ts'
import { Customer } from '../../shared/schemas/completion.ts'
import {
  Credential,
  CredentialList,
  CredentialRequest,
  CredentialUpdate,
  DeletedCredential,
} from '../../shared/schemas/credential.ts'
import { ErrorResponse } from '../../shared/schemas/error.ts'
import type { StoredCredentials } from '../../shared/credentials/stored-credentials.ts'
import { readCustomer } from '../submission.ts'

export type CredentialRouteDeps = PlanDependencies & { credentials: StoredCredentials }

const CredentialParams = z.object({ id: z.string() })
const ListQuery = z.strictObject({
  after: z.string().optional().describe('Id of the last credential of the page before.'),
  limit: z.coerce.number().int().min(1).max(100).default(20),
  customer: Customer.optional().describe('Only those of this customer.'),
})
const errors = { '4xx': ErrorResponse, '5xx': ErrorResponse }
const tags = ['credentials']

/** `/credentials`: keys and configs that a tenant keeps here, to be named by requests; create, list, read, change, delete. */
export function addCredentialRoutes(app: FastifyInstance, deps: CredentialRouteDeps): void {
  const { credentials } = deps
  const routes = app.withTypeProvider<ZodTypeProvider>()

  const createSchema = {
    summary: 'Store a credential',
    description:
      'The fields of one bundle (`provider`, `api_key`, `api_base`, ...) or a whole `user_config`, as a request would bring them. Requests name it by `credential`. It can never be read again, and is used by requests of its customer alone (or by those without one).',
    tags,
    body: CredentialRequest,
    response: { 200: Credential, ...errors },
  }
  routes.post('/credentials', { schema: createSchema }, async (request) => {
    const { tenant, body } = request
    const { name = null, metadata, customer: given = null } = body
    const customer = readCustomer(request) ?? given
    const secret = checkSecret(body, { tenant, customer }, deps)
    const kind = secret.fields['user_config'] === undefined ? ('bundle' as const) : ('user_config' as const)
    return toCredential(
      await credentials.create(tenant, { customer, kind, name, metadata: metadata ?? {}, secret }),
    )
  })

  const listSchema = {
    summary: 'List stored credentials, newest first',
    tags,
    querystring: ListQuery,
    response: { 200: CredentialList, ...errors },
  }
  routes.get('/credentials', { schema: listSchema }, async (request) => {
    const page = await credentials.list(request.tenant, request.query)
    if (!page) throw new InvalidRequestError('`after` is no id of a stored credential.', 'after')
    const data = page.credentials.map(toCredential)
    const [first_id, last_id] = [data[0]?.id ?? null, data.at(-1)?.id ?? null]
    return { object: 'list' as const, data, first_id, last_id, has_more: page.hasMore }
  })

  const readSchema = {
    summary: 'Read what is stored, but for its secrets',
    tags,
    params: CredentialParams,
    response: { 200: Credential, ...errors },
  }
  routes.get('/credentials/:id', { schema: readSchema }, async (request) =>
    toCredential(found(await credentials.read(request.tenant, request.params.id))),
  )

  const changeSchema = {
    summary: 'Change a stored credential, or rotate its key',
    description:
      'What is left out stays. An `api_key` alone takes the place of the old one, for the base it has. Everything else of the secret part is given whole, and what is left out of it is gone: no stored key ever goes to another base. Whatever names it from now on is called with what is new; jobs that were submitted before keep what they came with.',
    tags,
    params: CredentialParams,
    body: CredentialUpdate,
    response: { 200: Credential, ...errors },
  }
  routes.post('/credentials/:id', { schema: changeSchema }, async (request) => {
    const { tenant, body } = request
    const { name, metadata } = body
    const changed = await credentials.change(tenant, request.params.id, (record, stored) => {
      const given = changedSecret(body, record.kind, stored)
      const { customer } = record
      return {
        name: name === undefined ? record.name : name,
        metadata: metadata === undefined ? record.metadata : (metadata ?? {}),
        secret: given && checkSecret(given, { tenant, customer }, deps),
      }
    })
    return toCredential(found(changed))
  })

  const deleteSchema = {
    summary: 'Delete a stored credential',
    description:
      'No request can name it from now on, and lines of batches that do and have not run fail. Jobs that were submitted before go on with what they came with.',
    tags,
    params: CredentialParams,
    response: { 200: DeletedCredential, ...errors },
  }
  routes.delete('/credentials/:id', { schema: deleteSchema }, async (request) => {
    const { id } = request.params
    if (!(await credentials.remove(request.tenant, id))) throw new NotFoundError('credential')
    return { id, object: 'credential' as const, deleted: true as const }
  })
}

function found(record: CredentialRecord | null): CredentialRecord {
  if (!record) throw new NotFoundError('credential')
  return record
}

function toCredential(record: CredentialRecord): Credential {
  const { id, name, customer, kind, provider, host, hint, metadata, createdMs, updatedMs } = record
  return {
    id,
    object: 'credential',
    name,
    customer,
    kind,
    provider,
    host,
    key_hint: hint,
    metadata,
    created_at: Math.floor(createdMs / 1000),
    updated_at: Math.floor(updatedMs / 1000),
  }
}
