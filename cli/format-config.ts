import type { ConfigReport } from './check-config.ts'

type Group = ConfigReport['groups'][number]
type Deployment = Group['deployments'][number]

/** A checked config for a person at a terminal. */
export function formatConfig(report: ConfigReport): string {
  const { file, groups, aliases, caps, client_credentials: clients, warnings } = report
  const names = groups.map(({ name }) => name).join(', ')
  const hosts = clients.hosts === null ? 'any public host' : clients.hosts.join(', ')
  const lines = [
    ...warnings.map((warning) => `warning: ${warning}`),
    `${file} is good. Model groups: ${names || 'none'}`,
    '',
    ...groups.flatMap((group) => [...linesOf(group), '']),
    ...Object.entries(aliases).map(([alias, group]) => `alias ${alias} -> ${group}`),
    `caps: ${pairs(caps)}`,
    `client credentials: ${clients.allowed ? `taken, for ${hosts}` : 'refused'}`,
  ]
  return `${lines.join('\n')}\n`
}

function linesOf({ name, strategy, retries, deployments, fallbacks, note }: Group): string[] {
  const policy = Object.keys(retries.policy).length > 0 ? `, policy ${pairs(retries.policy)}` : ''
  const orders: [string, string[]][] = [
    ['fallbacks', fallbacks.any_failure],
    ['context window', fallbacks.context_window],
    ['content policy', fallbacks.content_policy],
  ]
  // Without a table of its own a reason has the same order.
  const [first, ...others] = orders
  const own = others.filter(([, order]) => order.join('\n') !== first?.[1].join('\n'))
  const shown = [...(first && first[1].length > 0 ? [first] : []), ...own]
  return [
    `${name}: ${strategy}, num_retries ${retries.num_retries}${policy}`,
    ...deployments.map((deployment) => `  ${describe(deployment)}`),
    ...shown.map(([what, order]) => `  ${what}: ${order.join(', ') || 'none'}`),
    ...(note === null ? [] : [`  without credentials of its own a request gets: ${note}`]),
  ]
}

function describe(deployment: Deployment): string {
  const { name, host, key, callable, client_may_set: names, limits, cooldown, prices } = deployment
  const settings = pairs({
    ...limits,
    weight: deployment.weight,
    order: deployment.order,
    num_retries: deployment.num_retries,
    timeout_s: deployment.timeout_s,
    max_input_tokens: deployment.max_input_tokens,
    allowed_fails: cooldown?.allowed_fails ?? null,
    cooldown_time_s: cooldown?.disabled === true ? null : (cooldown?.cooldown_time_s ?? null),
  })
  const where = { config: 'in the config', environment: `from ${key.variable}`, none: 'none' }
  return [
    `${name} at ${host ?? 'no host'}`,
    `key ${where[key.from]}`,
    ...(callable ? [] : ['not callable as it is']),
    settings,
    ...(cooldown?.disabled === true ? ['no cooldowns'] : []),
    ...(cooldown?.policy ? [`allowed_fails_policy ${pairs(cooldown.policy)}`] : []),
    ...(prices ? [`prices ${pairs(prices)}`] : []),
    ...(names.length > 0 ? [`clients may set ${names.join(' and ')}`] : []),
  ].join('; ')
}

/** `rpm 5, tpm 100`; what is null is left out. */
function pairs(values: Record<string, number | null | undefined>): string {
  return Object.entries(values)
    .filter(([, value]) => value !== null && value !== undefined)
    .map(([name, value]) => `${name} ${value}`)
    .join(', ')
}
