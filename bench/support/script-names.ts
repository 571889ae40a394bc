import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { z } from 'zod'

const BullScripts = z.record(z.string(), z.looseObject({ name: z.string(), content: z.string() }))

/** Names of Lua scripts by the hash that EVALSHA carries: ours by file, BullMQ's as it calls them. */
export function readScriptNames(): Map<string, string> {
  const names = new Map<string, string>()
  const folder = fileURLToPath(new URL('../../shared/lua', import.meta.url))
  for (const file of readdirSync(folder)) {
    if (file.endsWith('.lua')) names.set(sha1(readFileSync(join(folder, file), 'utf8')), file.slice(0, -4))
  }
  const require = createRequire(import.meta.url)
  // BullMQ exports its scripts from no public path; their names are only for people to read.
  const scripts = BullScripts.parse(require(join(require.resolve('bullmq'), '../scripts/index.js')))
  for (const { name, content } of Object.values(scripts)) names.set(sha1(content), `bullmq ${name}`)
  return names
}

function sha1(text: string): string {
  return createHash('sha1').update(text).digest('hex')
}
