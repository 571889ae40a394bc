import { createHash } from 'node:crypto'
import { readdirSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { z } from 'zod'
import { readScript } from '../../shared/scripts.ts'
import { project } from './gateway.ts'

const BullScripts = z.record(z.string(), z.looseObject({ name: z.string(), content: z.string() }))

/**
 * Names of Lua scripts by the hash that EVALSHA carries: ours by file, `[]` behind those that do several calls at once, BullMQ's
 * as it calls them.
 */
export function readScriptNames(): Map<string, string> {
  const names = new Map<string, string>()
  for (const file of readdirSync(project('shared/lua'))) {
    if (!file.endsWith('.lua')) continue
    const name = file.slice(0, -'.lua'.length)
    names.set(readScript(name).sha, name)
    names.set(readScript(name, { isForEach: true }).sha, `${name}[]`)
  }
  const require = createRequire(import.meta.url)
  // BullMQ exports its scripts from no public path; their names are only for people to read.
  const scripts = BullScripts.parse(require(join(require.resolve('bullmq'), '../scripts/index.js')))
  for (const { name, content } of Object.values(scripts)) {
    names.set(createHash('sha1').update(content).digest('hex'), `bullmq ${name}`)
  }
  return names
}
