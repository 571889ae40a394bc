import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { REQUEST_FIELDS } from '../shared/schemas/field-names.ts'
import { routerShape } from '../shared/schemas/user-config.ts'

// docs/architecture.md names every file, so that whoever looks for a thing finds it there first.
const ROOT = fileURLToPath(new URL('..', import.meta.url))
const MAP = readFileSync(join(ROOT, 'docs/architecture.md'), 'utf8')

/** Paths of a room's files, from the root. */
function filesOf(room: string): string[] {
  return readdirSync(join(ROOT, room), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map(({ parentPath, name }) => join(parentPath, name).slice(ROOT.length))
}

/** What the tree says of a room: from its own line to the next one that is not indented. */
function partOf(room: string): string {
  return new RegExp(`^${room}/\\n((?: .*\\n|\\n)+)`, 'm').exec(MAP)?.[1] ?? ''
}

const ROOMS = ['api', 'worker', 'shared', 'cli']

test.each(ROOMS)('the tree has every file of %s/', (room) => {
  const words = new Set(partOf(room).match(/[\w.-]+/g))
  const missing = filesOf(room)
    .filter((file) => /\.(ts|mjs|json)$/.test(file))
    // Schemas are listed by their names alone.
    .filter((file) => !words.has(basename(file)) && !words.has(basename(file, '.ts')))
  expect(missing).toEqual([])
})

test.each(ROOMS)('the tree has no file that %s/ has not', (room) => {
  const files = filesOf(room)
  const named = partOf(room).match(/[\w/-]+\.(?:ts|mjs)\b/g) ?? []
  const gone = named.filter((name) => !files.includes(name) && !files.includes(`${room}/${name}`))
  // A line may name a folder once: `providers/drop.ts  unsupported-params.ts`.
  expect(
    gone.filter((name) => !files.some((file) => dirname(file) !== room && basename(file) === name)),
  ).toEqual([])
  expect(named.length).toBeGreaterThan(5)
})

test('the paths in its text are there', () => {
  const named = MAP.match(/`(?:api|worker|shared|cli|test)\/[\w/-]+\.\w+`/g) ?? []
  const files = new Set([...ROOMS, 'test'].flatMap(filesOf))
  expect(named.map((path) => path.slice(1, -1)).filter((path) => !files.has(path))).toEqual([])
})

test('the table of scripts has each of them, and no other', () => {
  const scripts = readdirSync(join(ROOT, 'shared/lua')).filter((file) => file.endsWith('.lua'))
  const table = MAP.slice(MAP.indexOf('\n## Scripts'), MAP.indexOf('\n## The sweeper'))
  const rows = [...table.matchAll(/^\| `([\w-]+)` \|/gm)].map(([, name]) => `${name}.lua`)
  expect(rows.toSorted()).toEqual(scripts.toSorted())
})

test('the table of keys has each that is spelt', () => {
  const keys = readFileSync(join(ROOT, 'shared/keys.ts'), 'utf8')
  const table = MAP.slice(MAP.indexOf('\n## Redis keys'), MAP.indexOf('\n## Scripts'))
  const words = new Set(table.match(/[\w-]+/g))
  const spelt = [...keys.matchAll(/(?:\$\{shard\}|\}\}|\{keys\}):([\w-]+)/g)].map(([, word]) => word ?? '')
  expect(spelt.length).toBeGreaterThan(20)
  expect(spelt.filter((word) => !words.has(word))).toEqual([])
})

test('docs/routing.md speaks of each setting of a router and each field of a request that is read', () => {
  const words = new Set(readFileSync(join(ROOT, 'docs/routing.md'), 'utf8').match(/\w+/g))
  const read = ['model_list', ...Object.keys(routerShape), ...REQUEST_FIELDS]
  const elsewhere = ['cache', 'customer']
  expect(read.filter((name) => !words.has(name) && !elsewhere.includes(name))).toEqual([])
})

test('README.md and docs lead nowhere that is not there', () => {
  const pages = ['README.md', 'CHANGELOG.md', 'CONTRIBUTING.md', ...filesOf('docs')]
  const broken = pages.flatMap((page) => {
    const links = [...readFileSync(join(ROOT, page), 'utf8').matchAll(/\]\(([^)\s]+)\)/g)].map(
      ([, to]) => to ?? '',
    )
    return links.filter((to) => !to.startsWith('http') && !leads(page, to)).map((to) => `${page}: ${to}`)
  })
  expect(broken).toEqual([])
})

/** Whether a link of a page has a file, and a heading in it. */
function leads(page: string, link: string): boolean {
  const [path = '', heading] = link.split('#')
  const target = path === '' ? page : join(dirname(page), path)
  if (!existsSync(join(ROOT, target))) return false
  if (heading === undefined) return true
  const headings = readFileSync(join(ROOT, target), 'utf8').matchAll(/^#+ (.*)$/gm)
  return [...headings].some(([, text = '']) => slugOf(text) === heading)
}

function slugOf(heading: string): string {
  return heading
    .toLowerCase()
    .replaceAll(/[^\w -]/g, '')
    .replaceAll(' ', '-')
}
