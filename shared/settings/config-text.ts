import { createRequire } from 'node:module'
import type * as Yaml from 'yaml'
import { ConfigError } from '../errors.ts'
import { isObject } from './notes.ts'

const requireHere = createRequire(import.meta.url)

/**
 * Parses YAML, or JSON, which is YAML too.
 * @throws {ConfigError} naming file, line and column, and never quoting the text: it may be a key.
 */
export function parseYaml(
  text: string,
  file: string,
): { config: Record<string, unknown>; warnings: string[] } {
  // Here, since many a process has no config.yaml: it takes 10 MB, and as long to load as Fastify's router.
  const { LineCounter, parseDocument } = requireHere('yaml') as typeof Yaml // by that name
  const lines = new LineCounter()
  // The parser's own messages quote the text around an error, which may be a key.
  const options = { uniqueKeys: true, prettyErrors: false, logLevel: 'error', lineCounter: lines } as const
  const document = parseDocument(text, options)
  const describe = ({ code, pos: [start] }: Yaml.YAMLParseError) => {
    const { line, col } = lines.linePos(start)
    return `${code.toLowerCase().replaceAll('_', ' ')} at line ${line}, column ${col}`
  }
  // LiteLLM's documentation writes patterns as "...\.": an escape that YAML does not know and that keeps its text.
  const fatal = document.errors.find(({ code }) => code !== 'BAD_DQ_ESCAPE')
  if (fatal) throw new ConfigError(`${file} is no valid YAML: ${describe(fatal)}.`)
  const config = toPlain(document, file)
  if (config === null || config === undefined) return { config: {}, warnings: [] }
  if (!isObject(config)) throw new ConfigError(`${file} must be a mapping with a model_list.`)
  const warnings = document.errors.map((error) => `${describe(error)}: taken as written.`)
  return { config, warnings }
}

function toPlain(document: Yaml.Document.Parsed, file: string): unknown {
  try {
    return document.toJS({ maxAliasCount: 100 })
  } catch {
    throw new ConfigError(`${file}: an alias (*name) in it is unknown, or its aliases multiply without end.`)
  }
}

/**
 * Replaces text that is `os.environ/NAME` as a whole, at any depth.
 * @throws {ConfigError} naming the path and the variable that is not set.
 */
export function fillFromEnvironment(
  value: unknown,
  path: string,
  variables: Record<string, string | undefined>,
): unknown {
  if (typeof value === 'string') {
    if (!value.startsWith('os.environ/')) return value
    const name = value.slice('os.environ/'.length)
    return variables[name] || missing(name, path)
  }
  if (Array.isArray(value))
    return value.map((item, index) => fillFromEnvironment(item, `${path}[${index}]`, variables))
  if (!isObject(value)) return value
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [key, fillFromEnvironment(item, `${path}.${key}`, variables)]),
  )
}

function missing(name: string, path: string): never {
  throw new ConfigError(`${path} needs the environment variable ${name}, which is not set.`)
}
