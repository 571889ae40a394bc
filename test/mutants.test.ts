import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { MUTANTS } from './support/mutants.ts'

const ROOT = fileURLToPath(new URL('..', import.meta.url))

// `npm run mutants` takes minutes and is not part of each run: that it can still start is seen here.
test('each protection that mutants take away is where they look for it, and so are its tests', () => {
  const lost = MUTANTS.flatMap(({ name, changes, tests }) => {
    const places = changes.map(
      ({ file, from }) => readFileSync(join(ROOT, file), 'utf8').split(from).length - 1,
    )
    const isThere =
      places.every((count) => count === 1) && tests.every((path) => existsSync(join(ROOT, path)))
    return isThere ? [] : [name]
  })
  expect(lost).toEqual([])
})
