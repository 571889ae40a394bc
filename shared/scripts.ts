import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import type { Redis } from 'ioredis'

export type ScriptArgument = string | number | Buffer

/** Runs one Lua script: keys, then arguments. Bulk replies come as Buffers, integers as numbers, nil as null. */
export type Script = (keys: readonly string[], args: readonly ScriptArgument[]) => Promise<unknown>

/**
 * Makes the script of `shared/lua/<name>.lua` callable on a connection, by its hash; Redis is sent the text only when
 * it does not have it (a restart, a failover, `SCRIPT FLUSH`). A line `-- @include name` stands for the file
 * `shared/lua/include/name.lua`, once.
 */
export function createScript(redis: Redis, name: string): Script {
  const { text, sha } = readScript(name)
  return async (keys, args) => {
    try {
      return await redis.callBuffer('EVALSHA', sha, keys.length, ...keys, ...args)
    } catch (error) {
      if (!(error instanceof Error) || !error.message.startsWith('NOSCRIPT')) throw error
      return redis.callBuffer('EVAL', text, keys.length, ...keys, ...args)
    }
  }
}

/** The whole text of a script, what it includes in its place, and the hash by which Redis knows it. */
export function readScript(name: string): { text: string; sha: string } {
  const text = withIncludes(readLua(name), new Set())
  return { text, sha: createHash('sha1').update(text).digest('hex') }
}

function withIncludes(text: string, included: Set<string>): string {
  return text.replace(/^ *-- @include (\S+)$/gm, (_, name: string) => {
    if (included.has(name)) return ''
    included.add(name)
    return withIncludes(readLua(`include/${name}`), included).trimEnd()
  })
}

function readLua(name: string): string {
  return readFileSync(new URL(`./lua/${name}.lua`, import.meta.url), 'utf8')
}
