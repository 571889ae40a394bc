import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import type { Redis } from 'ioredis'
import { createGather } from './gather.ts'

export type ScriptArgument = string | number | Buffer

/** Runs one Lua script: keys, then arguments. Bulk replies come as Buffers, integers as numbers, nil as null. */
export type Script = (keys: readonly string[], args: readonly ScriptArgument[]) => Promise<unknown>

/**
 * Makes the script of `shared/lua/<name>.lua` callable on a connection, by its hash; Redis is sent the text only when
 * it does not have it (a restart, a failover, `SCRIPT FLUSH`). A line `-- @include name` stands for the file
 * `shared/lua/include/name.lua`, once.
 */
export function createScript(redis: Redis, name: string): Script {
  return scriptOf(redis, readScript(name))
}

// More calls than these, or larger ones, are more than one script: Redis does nothing else while it runs one.
const GATHERED_MAX = 16
const GATHERED_BYTES_MAX = 256 * 1024

/** One of the calls that a script runs for. */
export type ScriptCall = { keys: readonly string[]; args: readonly ScriptArgument[] }

/**
 * The same for what is run for each job: one script does it for several calls, one after the other. They share what it costs to
 * send, start and answer a script; each has its own reply, or error.
 */
export function createScriptForEach(
  redis: Redis,
  name: string,
): (calls: readonly ScriptCall[]) => Promise<unknown[]> {
  const run = scriptOf(redis, readScript(name, { isForEach: true }))
  return async (calls) => {
    const args = calls.flatMap((call) => [call.args.length, ...call.args])
    const keys = calls.flatMap((call) => call.keys)
    return (await run(keys, [calls.length, ...args])) as unknown[] // see each.lua
  }
}

/** How many of the first of these calls, at least one, are worth one script. @param callsMax At most so many. */
export function togetherOf(calls: readonly ScriptCall[], callsMax = GATHERED_MAX): number {
  let bytes = 0
  const isOver = ({ args }: ScriptCall, at: number) => {
    for (const arg of args) bytes += typeof arg === 'number' ? 8 : arg.length
    return at >= callsMax || bytes > GATHERED_BYTES_MAX
  }
  const over = calls.findIndex(isOver)
  return over === -1 ? calls.length : Math.max(1, over)
}

/** Runs a script for those of its calls that come in one turn of the event loop, together. */
export function createGatheredScript(redis: Redis, name: string): Script {
  const forEach = createScriptForEach(redis, name)
  const gather = createGather((_: string, calls: readonly ScriptCall[]) => forEach(calls), togetherOf)
  return async (keys, args) => {
    const reply = await gather(name, { keys, args })
    if (reply instanceof Error) throw reply
    return reply
  }
}

/** The whole text of a script, what it includes in its place, and the hash by which Redis knows it. */
export function readScript(name: string, { isForEach = false } = {}): { text: string; sha: string } {
  const alone = withIncludes(readLua(name), new Set())
  const text = isForEach ? `local function one(KEYS, ARGV)\n${alone}\nend\n${readLua('include/each')}` : alone
  return { text, sha: createHash('sha1').update(text).digest('hex') }
}

function scriptOf(redis: Redis, { text, sha }: { text: string; sha: string }): Script {
  return async (keys, args) => {
    // A cluster would send it to any of its nodes; a single Redis would never tell.
    if (keys.length === 0) throw new Error('A script needs a key.')
    try {
      return await redis.callBuffer('EVALSHA', sha, keys.length, ...keys, ...args)
    } catch (error) {
      if (!(error instanceof Error) || !error.message.startsWith('NOSCRIPT')) throw error
      return redis.callBuffer('EVAL', text, keys.length, ...keys, ...args)
    }
  }
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
