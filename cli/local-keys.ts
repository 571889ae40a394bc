import { randomBytes } from 'node:crypto'
import { link, mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parseEnv } from 'node:util'
import { z } from 'zod'
import { ConfigError } from '../shared/errors.ts'

const FILE_NAME = 'keys.env'
const HEADER = `# The keys of this gateway, made at its first start. Without them its data can't be opened:
# keep a copy, and keep it apart from the data.
`

const Keys = z.object({
  GATEWAY_MASTER_KEY: z.string().min(8),
  GATEWAY_ENCRYPTION_KEYS: z.string().min(1),
  GATEWAY_ID_SECRET: z.string().min(16),
})

/** The three secrets of a one-machine gateway, by the names of their variables, and the file they are kept in. */
export type LocalKeys = { file: string; isNew: boolean; environment: z.infer<typeof Keys> }

/**
 * Reads the keys of this folder, or makes them: a file only its owner can read, in the form of an environment file.
 * Of two first starts at once both get the same keys.
 * @throws {ConfigError} when the file is there and does not hold them.
 */
export async function readOrMakeKeys(keysDir: string): Promise<LocalKeys> {
  const file = join(keysDir, FILE_NAME)
  const isNew = await makeKeys(keysDir, file)
  const parsed = Keys.safeParse(parseEnv(await readFile(file, 'utf8')))
  if (!parsed.success) {
    const names = parsed.error.issues.map((issue) => issue.path.join('.')).join(', ')
    throw new ConfigError(
      `${file} does not hold ${names}. Restore it from your copy; new keys open no old data.`,
    )
  }
  return { file, isNew, environment: parsed.data }
}

/** The gateway key that a first start made in this folder; null when there was none. */
export async function readMadeKey(keysDir: string): Promise<string | null> {
  const text = await readFile(join(keysDir, FILE_NAME), 'utf8').catch(() => '')
  return parseEnv(text)['GATEWAY_MASTER_KEY'] || null
}

/** The id secret that a first start made in this folder; null when there was none. */
export async function readMadeSecret(keysDir: string): Promise<string | null> {
  const text = await readFile(join(keysDir, FILE_NAME), 'utf8').catch(() => '')
  return parseEnv(text)['GATEWAY_ID_SECRET'] || null
}

/** False when the file was there. A link, unlike a rename, never replaces what another start has just made. */
async function makeKeys(keysDir: string, file: string): Promise<boolean> {
  await mkdir(keysDir, { recursive: true, mode: 0o700 })
  const draft = `${file}.${randomBytes(6).toString('hex')}`
  const keys: z.infer<typeof Keys> = {
    GATEWAY_MASTER_KEY: `sk-${randomBytes(32).toString('base64url')}`,
    GATEWAY_ENCRYPTION_KEYS: `k1:${randomBytes(32).toString('base64')}`,
    GATEWAY_ID_SECRET: randomBytes(32).toString('base64url'),
  }
  const lines = Object.entries(keys).map(([name, value]) => `${name}=${value}\n`)
  await writeFile(draft, HEADER + lines.join(''), { mode: 0o600, flag: 'wx' })
  try {
    await link(draft, file)
    return true
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EEXIST') return false
    throw error
  } finally {
    await rm(draft, { force: true })
  }
}
