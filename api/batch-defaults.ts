import { readConnection, refuseFilePaths } from '../shared/settings/connection.ts'
import { closestName } from '../shared/settings/did-you-mean.ts'
import type { EgressPolicy } from '../shared/egress.ts'
import { InvalidRequestError } from '../shared/errors.ts'
import { expandCredentials, type NamedCredentials } from '../shared/credentials/named-credentials.ts'
import { invalid, type Notes } from '../shared/settings/notes.ts'
import type { OperatorConfig } from '../shared/settings/operator-config.ts'
import { checkConfig } from '../shared/plans/plan-of-config.ts'
import { sourceOf } from '../shared/plans/plan.ts'
import { AUTH_FIELDS } from '../shared/settings/provider-auth.ts'
import { readRequestFallbacks } from '../shared/plans/request-fallbacks.ts'
import { readRequestSettings, splitRequest } from '../shared/settings/request-settings.ts'

/** What lies under lines, and what is to be known of it. */
export type Defaults = {
  fields: Record<string, unknown>
  /** Names that a misspelt field of the batch itself may stand for. */
  batchFields: readonly string[]
  /** Whose stored credentials may be among them; those that are. */
  customer: string | null
  named: NamedCredentials
}

/**
 * Checks what lies under every line of a batch, as far as that can be told without a line: names, shapes, credentials. What
 * hangs on a line's model is looked at with the line.
 * @returns what a caller should know.
 * @throws {InvalidRequestError} with the field's path.
 * @throws {CredentialNotFoundError}
 */
export function checkDefaults(
  { fields, batchFields, customer, named }: Defaults,
  deps: { operator: OperatorConfig; egress: EgressPolicy },
): { warnings: string[] } {
  refuseOfBatch(fields)
  for (const name of Object.keys(splitRequest(fields).body)) refuseMisspelt(name, batchFields)
  const { body, told } = expandCredentials({ body: fields, customer }, named, deps.operator)
  return told(() => checkExpanded(body, deps))
}

function checkExpanded(
  body: Record<string, unknown>,
  { operator, egress }: { operator: OperatorConfig; egress: EgressPolicy },
): { warnings: string[] } {
  const split = splitRequest(body)
  const notes: Notes = { warnings: [] }
  readRequestSettings(split.gateway, notes)
  readRequestFallbacks(split.gateway)
  const { allowedClientHosts: allowedHosts } = operator.generalSettings
  const trust = { kind: 'client' as const, egress, allowedHosts }
  const source = sourceOf(split, operator)
  if (source === 'user_config') checkConfig(split.gateway, { trust, notes })
  if (source === 'client_credentials') {
    refuseFilePaths(split.credentials, '')
    readConnection(split.credentials, '', trust, AUTH_FIELDS)
  }
  return notes
}

function refuseOfBatch(defaults: Record<string, unknown>): void {
  if (defaults['job'] !== undefined) {
    throw invalid('job', 'has no place here: give the options of a batch in the body itself.')
  }
  const stream = defaults['stream'] ?? false
  if (stream === false) return
  const message = 'A batch has no streams: leave `stream` out, or set it to false.'
  throw new InvalidRequestError(message, 'stream', 'unsupported_stream')
}

// As a default of the lines it would go to every provider, and the batch would not be what was meant.
function refuseMisspelt(name: string, batchFields: readonly string[]): void {
  const meant = closestName(name, batchFields)
  if (meant === null) return
  const message = `\`${name}\` is not a field of a batch. Did you mean "${meant}"?`
  throw new InvalidRequestError(message, name, 'unknown_parameter')
}
