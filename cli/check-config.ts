import { connectionOf } from '../shared/settings/connection.ts'
import { OPERATOR } from '../shared/settings/deployments.ts'
import { deploymentIds } from '../shared/settings/deployment-ids.ts'
import { createEgressPolicy } from '../shared/egress.ts'
import { InvalidRequestError } from '../shared/errors.ts'
import { createIds } from '../shared/ids.ts'
import {
  loadOperatorConfig,
  operatorGroupNames,
  type OperatorConfig,
} from '../shared/settings/operator-config.ts'
import { isCallable, type OperatorDeployment } from '../shared/settings/operator-deployments.ts'
import { ATTEMPTS_MAX_DEFAULT } from '../shared/plans/plan-assembly.ts'
import { deploymentFacts, fallbackOrder, groupFacts } from '../shared/plans/plan-view.ts'
import { resolvePlan } from '../shared/plans/plan.ts'
import { hasCredential } from '../shared/settings/provider-auth.ts'
import type { Plan, PlanDeployment } from '../shared/schemas/plan.ts'
import { formatConfig } from './format-config.ts'
import type { Environment } from './settings.ts'

// Ids are only compared with each other here: any secret will do, and no address is opened.
const ids = createIds('of no installation')
const egress = createEgressPolicy({ allowedCidrs: [] })

/**
 * Loads a `config.yaml` as the start would and prints what it comes to: groups, deployments, fallbacks, caps, and every
 * warning. It needs no Redis and no running gateway, and prints no key.
 * @throws {ConfigError} with what would stop the gateway's start.
 */
export function checkConfig(
  file: string,
  { isJson }: { isJson: boolean },
  { environment, print }: { environment: Environment; print: (text: string) => void },
): void {
  const report = reportOn(file, environment)
  print(isJson ? `${JSON.stringify(report, null, 2)}\n` : formatConfig(report))
}

function reportOn(file: string, environment: Environment) {
  const config = loadOperatorConfig(file, environment)
  const variables = keyVariables(file, environment, config)
  const { generalSettings, router, warnings } = config
  return {
    file,
    groups: operatorGroupNames(config).map((name) => groupOf(config, name, variables)),
    aliases: Object.fromEntries(router.aliases),
    caps: {
      max_attempts: ATTEMPTS_MAX_DEFAULT,
      max_fallbacks: router.maxFallbacks,
      num_retries: router.numRetries,
      retry_after_s: router.retryAfterS,
      timeout_s: router.timeoutS,
    },
    client_credentials: {
      allowed: generalSettings.allowClientSideCredentials,
      hosts: generalSettings.allowedClientHosts,
    },
    warnings,
  }
}

/** What a config comes to; `--json` prints it as it is. */
export type ConfigReport = ReturnType<typeof reportOn>

function groupOf(config: OperatorConfig, name: string, variables: KeyVariables) {
  const { plan, note } = planOf(config, name)
  const members = membersOf(config, name)
  return {
    name,
    ...groupFacts(plan, plan.group),
    deployments: members.map((entry) => deploymentOf(plan, entry, variables)),
    fallbacks: fallbackOrder(plan),
    /** Why requests without credentials of their own are refused. */
    note,
  }
}

/** The entries that a group's name stands for: a routing group has those of several others. */
function membersOf({ deployments, names }: OperatorConfig, name: string): OperatorDeployment[] {
  const own = deployments.filter(({ group }) => group === name)
  return own.length > 0 ? own : (names.find(name)?.members.map(({ entry }) => entry) ?? [])
}

/** The plan of a request for this group; of the router's settings alone when it can't be called without a client's key. */
function planOf(config: OperatorConfig, name: string): { plan: Plan; note: string | null } {
  // Any name that a wildcard would catch.
  const body = { model: name.replaceAll('*', 'any'), messages: [] }
  try {
    const request = { body, tenant: 'config-check', customer: null }
    return { plan: resolvePlan(request, { operator: config, ids, egress }).plan, note: null }
  } catch (error) {
    if (!(error instanceof InvalidRequestError)) throw error
    return { plan: emptyPlan(config, name), note: error.message }
  }
}

function emptyPlan({ router }: OperatorConfig, group: string): Plan {
  return {
    source: 'operator',
    owner_id: OPERATOR,
    group,
    deployments: [],
    fallbacks: {},
    max_fallbacks: router.maxFallbacks,
    request_num_retries: null,
    num_retries: router.numRetries,
    retry_after_s: router.retryAfterS,
    timeout_s: router.timeoutS,
    allowed_fails: router.allowedFails,
    cooldown_time_s: router.cooldownTimeS,
    disable_cooldowns: router.disableCooldowns,
    max_attempts: ATTEMPTS_MAX_DEFAULT,
  }
}

function deploymentOf(plan: Plan, entry: OperatorDeployment, variables: KeyVariables) {
  const { bundle, settings, optIns, group } = entry
  const own = deploymentIds(bundle, OPERATOR, ids)
  const name = `${bundle.provider}/${bundle.model}`
  const { provider, model } = bundle
  const bare: PlanDeployment = { id: own.id, key_id: own.keyId, group, name, provider, model, ...settings }
  // As planned, where it is: a routing group may give it an order, a table its prices.
  const planned = plan.deployments.find(
    (deployment) => deployment.group === plan.group && deployment.operator_id === own.id,
  )
  // Ids are of no use outside of the installation that they are made for.
  const { id: _id, ...facts } = deploymentFacts(plan, planned ?? bare, bundle, false)
  const hasKey = hasCredential(connectionOf(bundle))
  const variable = variables.get(entry) ?? null
  return {
    ...facts,
    name,
    key: { from: originOf(hasKey, variable), variable },
    callable: isCallable(bundle),
    client_may_set: [...new Set(optIns.map((optIn) => optIn.name))],
  }
}

function originOf(hasKey: boolean, variable: string | null): 'config' | 'environment' | 'none' {
  if (!hasKey) return 'none'
  return variable === null ? 'config' : 'environment'
}

type KeyVariables = ReadonlyMap<OperatorDeployment, string>

/**
 * Which environment variable each key was read from. The config does not keep it: it is read once more with other values in
 * the variables that may be one, and the keys that change with them tell.
 */
function keyVariables(file: string, environment: Environment, config: OperatorConfig): KeyVariables {
  const keys = new Set(config.deployments.flatMap((deployment) => keyOf(deployment) ?? []))
  const names = Object.keys(environment).filter((name) => keys.has(environment[name] ?? ''))
  const marks = new Map(names.map((name) => [`key-of-${name}`, name]))
  const marked = Object.fromEntries([...marks].map(([mark, name]) => [name, mark]))
  const again = loadOperatorConfig(file, { ...environment, ...marked }).deployments
  return new Map(
    config.deployments.flatMap((deployment, index) => {
      const other = again[index]
      const name = other && marks.get(keyOf(other) ?? '')
      return name === undefined ? [] : [[deployment, name] as const]
    }),
  )
}

function keyOf({ bundle }: OperatorDeployment): string | null {
  return bundle.api_key ?? bundle.azure_ad_token
}
