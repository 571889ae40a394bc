import { z } from 'zod'
import { SECRET_CHARACTERS_MAX } from './credential-text.ts'
import { invalid, isObject } from './notes.ts'
import { isFilePath, refuseReferences } from './refused-keys.ts'

/**
 * Room for an RSA key of 4096 bits; Google's have 2048. The time to sign with one grows with the third power of its length: a
 * file of 50 kB would hold one of the few threads of the process for minutes.
 */
const PRIVATE_KEY_CHARACTERS_MAX = 4_096

/** What is kept of a service account's key file: no URL of it is ever called. */
const ServiceAccount = z.object({
  type: z.literal('service_account'),
  project_id: z
    .string()
    .regex(/^[a-z0-9][a-z0-9.:-]{0,98}$/)
    .optional(),
  private_key_id: z
    .string()
    .regex(/^[\w-]{1,256}$/)
    .optional(),
  private_key: z
    .string()
    .max(PRIVATE_KEY_CHARACTERS_MAX)
    .regex(/^\s*-----BEGIN PRIVATE KEY-----[A-Za-z0-9+/=\s]+-----END PRIVATE KEY-----\s*$/),
  client_email: z.string().regex(/^[\w.+-]{1,128}@[a-z0-9.-]{1,128}$/),
})
export type ServiceAccount = z.infer<typeof ServiceAccount>

const NOT_JSON = 'must be the JSON of a service account key, as text or as an object.'

/** Google's other key files, which name executables, files and addresses to ask for a token. */
const OTHER_TYPES = [
  'authorized_user',
  'external_account',
  'external_account_authorized_user',
  'impersonated_service_account',
  'gdch_service_account',
]

/**
 * A service account's key file, given as JSON text or as an object, as JSON text in one form: equal keys are equal text.
 * @throws {InvalidRequestError} with the path of what is wrong; nothing of the file is repeated.
 */
export function readServiceAccount(value: unknown, path: string): string {
  refuseReferences(value, path)
  const file = typeof value === 'string' ? parse(value, path) : value
  if (!isObject(file)) throw invalid(path, NOT_JSON)
  const { type } = file
  if (type !== 'service_account') {
    const named = OTHER_TYPES.find((known) => known === type)
    const other = named === undefined ? '' : `, not "${named}"`
    const what = `must be of type "service_account"${other}: the gateway follows no other way to a token.`
    throw invalid(path, what)
  }
  const universe = file['universe_domain'] ?? 'googleapis.com'
  if (universe !== 'googleapis.com') throw invalid(path, 'must have the `universe_domain` "googleapis.com".')
  // A file that went through a shell or a .env file has its line breaks written out.
  const key = file['private_key']
  const plain = {
    ...file,
    ...(typeof key === 'string' && { private_key: key.replaceAll(String.raw`\n`, '\n') }),
  }
  const parsed = ServiceAccount.safeParse(plain)
  if (parsed.success) return JSON.stringify(parsed.data)
  const field = String(parsed.error.issues[0]?.path[0] ?? 'private_key')
  throw invalid(path, `has no \`${field}\` as a service account key has it; check how it was copied.`)
}

/** A bundle's `vertex_credentials`; null when it holds none. */
export function serviceAccountOf(auth: Record<string, string> | undefined): ServiceAccount | null {
  const text = auth?.['vertex_credentials']
  if (text === undefined) return null
  const parsed = ServiceAccount.safeParse(JSON.parse(text))
  return parsed.success ? parsed.data : null
}

function parse(text: string, path: string): unknown {
  if (text.length > SECRET_CHARACTERS_MAX) throw invalid(path, 'is too long to be a service account key.')
  if (isFilePath(text)) throw invalid(path, 'looks like the path of a file. Send the credential itself.')
  try {
    return JSON.parse(text)
  } catch {
    throw invalid(path, NOT_JSON)
  }
}
