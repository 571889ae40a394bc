import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { allProviders } from '../../shared/settings/provider-catalog.ts'
import { providerTable, unservedTable } from '../support/provider-table.ts'

const page = readFileSync(new URL('../../docs/providers.md', import.meta.url), 'utf8')
const tables = [...page.matchAll(/(?:^\|.*\n)+/gm)].map(([table]) => table.trim())

// A page that is out of date fails here: put the row that is printed in its place.
test('docs/providers.md says of every provider what the catalog says', () => {
  expect(tables[0]?.split('\n')).toEqual(providerTable().split('\n'))
})

test('docs/providers.md names every provider that is refused, and what is said', () => {
  expect(tables[2]?.split('\n')).toEqual(unservedTable().split('\n'))
})

test('every provider stands in one of the two tables', () => {
  for (const { name } of allProviders()) expect(`${tables[0]}${tables[2]}`).toContain(`\`${name}\``)
})
