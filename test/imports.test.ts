import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'

// The arrows of docs/architecture.md, "Who may import whom".
const ROOT = fileURLToPath(new URL('..', import.meta.url))
const ROOMS = ['api', 'worker', 'shared', 'cli', 'test', 'bench']
/** The one door out, and its parts, which only it may use. */
const DOOR = 'worker/outbound.ts'
const DOOR_PARTS = ['worker/connector.ts', 'worker/exchange.ts', 'worker/resolve.ts']
/** It listens, and sends nothing: the port of the metrics. */
const LISTENERS = ['shared/metrics/metrics-port.ts']
/** Entry points, and the life of a process, which gets its `process` from them. */
const ENTRIES = ['api/main.ts', 'worker/main.ts']

type Source = { file: string; text: string; imports: Import[] }
type Import = { name: string; isType: boolean }

const sources: Source[] = ROOMS.flatMap((room) =>
  readdirSync(join(ROOT, room), { recursive: true, encoding: 'utf8' })
    .filter((file) => /\.(ts|mjs)$/.test(file) && !/(^|\/)(node_modules|peers)\//.test(file))
    .map((file) => {
      const path = join(room, file)
      const text = readFileSync(join(ROOT, path), 'utf8')
      return { file: path, text, imports: readImports(path, text) }
    }),
)
const product = sources.filter(({ file }) => !/^(test|bench)\//.test(file))

describe('who may import whom', () => {
  const allowed: Record<string, string[]> = {
    api: ['api', 'shared'],
    worker: ['worker', 'shared'],
    shared: ['shared'],
    cli: ['cli', 'shared'],
  }

  test('api, worker and cli import shared and never each other; nothing imports tests or benchmarks', () => {
    const wrong = product.flatMap(({ file, imports }) =>
      local(imports)
        .filter((target) => !allowed[roomOf(file)]?.includes(roomOf(target)))
        .map((target) => `${file} -> ${target}`),
    )
    expect(wrong).toEqual([])
  })

  test('schemas import zod and other schemas only', () => {
    const wrong = product
      .filter(({ file }) => file.startsWith('shared/schemas/'))
      .flatMap(({ file, imports }) =>
        imports
          .filter(({ name }) => name !== 'zod' && !name.startsWith('shared/schemas/'))
          .map(({ name }) => `${file} -> ${name}`),
      )
    expect(wrong).toEqual([])
  })

  test('no route imports another route', () => {
    const wrong = product
      .filter(({ file }) => file.startsWith('api/routes/'))
      .flatMap(({ file, imports }) =>
        imports.filter(({ name }) => name.startsWith('api/routes/')).map(({ name }) => `${file} -> ${name}`),
      )
    expect(wrong).toEqual([])
  })

  test('no import goes round in a circle at run time', () => {
    const edges = new Map(
      product.map(({ file, imports }) => [file, local(imports.filter(({ isType }) => !isType))]),
    )
    expect(findCircle(edges)).toBeNull()
  })
})

describe('what only one place may touch', () => {
  test('undici is imported by the one door out only', () => {
    expect(importersOf(/^undici$/)).toEqual([DOOR])
  })

  test('no other door leads out: neither fetch nor http, https, http2, tls or raw sockets', () => {
    const byModule = importersOf(/^(node:)?(https?|http2|tls|net|dgram)$/)
    const byFetch = product.filter(({ text }) => /(?<![.\w])fetch\(/.test(code(text))).map(({ file }) => file)
    const wrong = [...byModule, ...byFetch].filter((file) => /^(api|worker|shared)\//.test(file))
    const allowed = [DOOR, ...DOOR_PARTS, ...LISTENERS]
    expect(wrong.filter((file) => !allowed.includes(file))).toEqual([])
  })

  test('only a registry of its own makes metrics, and only where they are wanted', () => {
    expect(importersOf(/^prom-client$/)).toEqual(['shared/metrics/registry.ts'])
  })

  test('the parts of the door out are used by the door only', () => {
    const users = product
      .filter(({ imports }) => imports.some(({ name, isType }) => !isType && DOOR_PARTS.includes(name)))
      .map(({ file }) => file)
    expect(users.filter((file) => file !== DOOR && !DOOR_PARTS.includes(file))).toEqual([])
  })

  test('a Redis connection is made in one place, and BullMQ is touched where the queues are', () => {
    expect(importersOf(/^ioredis$/)).toEqual(['shared/redis.ts'])
    const bull = importersOf(/^bullmq$/).filter(
      (file) => !/^shared\/[a-z]+\/([a-z]+-)?queues?\.ts$/.test(file),
    )
    expect(bull.filter((file) => file !== 'worker/workers.ts')).toEqual([])
  })

  test('what only some want is loaded when they want it: OpenTelemetry where traces go somewhere, the page of queues when it is asked for', () => {
    const wanted =
      /^(@opentelemetry\/|bullmq-otel|@bull-board\/)|^shared\/(tracing-otel|queue-telemetry)\.ts$/
    const loaders = product.filter(({ imports }) =>
      imports.some(({ name, isType }) => !isType && wanted.test(name)),
    )
    expect(loaders.map(({ file }) => file)).toEqual([
      'api/board.ts',
      'shared/queue-telemetry.ts',
      'shared/tracing-otel.ts',
      'shared/tracing.ts',
    ])
    // Each of its imports is in a function.
    const atOnce = ['api/board.ts', 'shared/tracing.ts'].filter((file) =>
      product.some(
        (source) =>
          source.file === file &&
          /^import (?!type)[^']*'(@opentelemetry|@bull-board|\.\/tracing-otel)/m.test(source.text),
      ),
    )
    expect(atOnce).toEqual([])
  })

  test('only entry points and the command line read process.env', () => {
    const readers = product.filter(({ text }) => /\bprocess\.env\b|\benv\b.*from 'node:process'/.test(text))
    const wrong = readers
      .map(({ file }) => file)
      .filter((file) => !ENTRIES.includes(file) && !file.startsWith('cli/'))
    expect(wrong).toEqual([])
  })

  test('every key of Redis is spelt in shared/keys.ts', () => {
    const wrong = product.filter(({ file, text }) => file !== 'shared/keys.ts' && /\{s0\}/.test(code(text)))
    expect(wrong.map(({ file }) => file)).toEqual([])
  })
})

describe('shape of files', () => {
  test('there are no barrels and no default exports', () => {
    const barrels = sources.filter(({ file }) => /(^|\/)index\.(ts|mjs)$/.test(file))
    const defaults = sources.filter(({ text }) => /^export default\b|^export \* from\b/m.test(text))
    expect([...barrels, ...defaults].map(({ file }) => file)).toEqual([])
  })

  test('a source file has at most 300 lines, a test file 400', () => {
    const long = sources.flatMap(({ file, text }) => {
      const lines = text.split('\n').length - 1
      return lines > (file.startsWith('test/') ? 400 : 300) ? [`${file}: ${lines} lines`] : []
    })
    expect(long).toEqual([])
  })

  test('nothing escapes the types: no any, no non-null assertion, no ts-ignore', () => {
    const wrong = sources.filter(({ file, text }) =>
      file === 'test/imports.test.ts'
        ? false
        : /@ts-(ignore|nocheck|expect-error)|\bas any\b|: any\b/.test(code(text)),
    )
    expect(wrong.map(({ file }) => file)).toEqual([])
  })
})

function readImports(file: string, text: string): Import[] {
  const clauses = text.matchAll(/(?:^|\n)\s*(?:import|export)\s+(type\s)?(?:[^'"]*?\bfrom\s+)?'([^']+)'/g)
  const dynamic = text.matchAll(/\bimport\(\s*'([^']+)'\s*\)/g)
  const found = [
    ...[...clauses].map((match) => ({ name: match[2] ?? '', isType: match[1] !== undefined })),
    ...[...dynamic].map((match) => ({ name: match[1] ?? '', isType: false })),
  ]
  return found.map(({ name, isType }) => ({
    name: name.startsWith('.') ? relative(ROOT, join(ROOT, dirname(file), name)) : name,
    isType,
  }))
}

/** Files that import it at run time. */
function importersOf(pattern: RegExp): string[] {
  return product
    .filter(({ imports }) => imports.some(({ name, isType }) => !isType && pattern.test(name)))
    .map(({ file }) => file)
}

function local(imports: Import[]): string[] {
  return imports.map(({ name }) => name).filter((name) => ROOMS.includes(roomOf(name)) && name.includes('/'))
}

function roomOf(path: string): string {
  return path.split('/')[0] ?? ''
}

function code(text: string): string {
  return text.replaceAll(/\/\*[\s\S]*?\*\//g, '').replaceAll(/\/\/.*$/gm, '')
}

function findCircle(edges: Map<string, string[]>): string | null {
  const done = new Set<string>()
  const visit = (file: string, path: string[]): string | null => {
    if (path.includes(file)) return [...path.slice(path.indexOf(file)), file].join(' -> ')
    if (done.has(file)) return null
    for (const target of edges.get(file) ?? []) {
      const circle = visit(target, [...path, file])
      if (circle) return circle
    }
    done.add(file)
    return null
  }
  for (const file of edges.keys()) {
    const circle = visit(file, [])
    if (circle) return circle
  }
  return null
}
