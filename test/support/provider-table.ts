import { endpointNamed, type EndpointName } from '../../shared/jobs/endpoints.ts'
import { namesOf } from '../../shared/settings/provider-auth.ts'
import { allProviders, type ProviderEntry } from '../../shared/settings/provider-catalog.ts'

const HEAD = [
  "| provider | base | credentials | endpoints of its own | also, by way of chat | streams | an operator's variables |",
  '|---|---|---|---|---|---|---|',
]

/** The table of docs/providers.md as the catalog has it: a row for every provider that is served. */
export function providerTable(): string {
  const served = allProviders().filter(({ family }) => family !== 'unserved')
  return [...HEAD, ...served.map((provider) => `| ${cellsOf(provider).join(' | ')} |`)].join('\n')
}

/** Those that are refused by name, and what is said. */
export function unservedTable(): string {
  const rows = allProviders().flatMap(({ name, family, advice }) =>
    family === 'unserved' ? [`| \`${name}\` | ${advice ?? ''} |`] : [],
  )
  return ['| provider | what a request is told |', '|---|---|', ...rows].join('\n')
}

function cellsOf(provider: ProviderEntry): string[] {
  const { name, endpoints, native } = provider
  const translated = endpoints.filter((endpoint) => !native.includes(endpoint))
  const streams = native.some((endpoint) => endpointNamed(endpoint).canStream)
  return [
    code(name),
    baseOf(provider),
    credentialsOf(provider),
    list(native),
    list(translated) || '-',
    streams ? 'yes' : '-',
    variablesOf(provider).map(code).join(', ') || '-',
  ]
}

function baseOf({ defaultBase, placeBase, basePath }: ProviderEntry): string {
  if (defaultBase !== null) return defaultBase
  // One that every provider takes: a region of Amazon's must look like one.
  const place = 'us-xyz-1'
  if (placeBase) return code((placeBase.make(place) ?? '').replace(place, `<${placeBase.field}>`))
  return `its own \`api_base\`${basePath === null ? '' : `, \`${basePath}\` added to a bare origin`}`
}

function credentialsOf({ credentials, places, needs, placeBase, isKeyOptional }: ProviderEntry): string {
  const ways = credentials.map(({ fields, with: others = [] }) => {
    const more = others.map((field) => ` (and ${code(field)})`).join('')
    return fields.map(withAliases).join(' + ') + more
  })
  const needed = places.map((place) => {
    const isDerived = !needs.includes(place) && placeBase?.field !== place
    return `${withAliases(place)}${isDerived ? ' (optional)' : ''}`
  })
  const key = ways.join(', or ') + (isKeyOptional ? ' (optional)' : '')
  return needed.length === 0 ? key : `${key}; with ${needed.join(', ')}`
}

function withAliases(field: string): string {
  return namesOf(field).map(code).join('/')
}

function variablesOf({ keyVariables, baseVariables, authVariables }: ProviderEntry): string[] {
  return [...keyVariables, ...Object.values(authVariables).flat(), ...baseVariables]
}

function list(names: readonly EndpointName[]): string {
  return names.join(', ')
}

function code(text: string): string {
  return `\`${text}\``
}
