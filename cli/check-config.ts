import { loadOperatorConfig, operatorModelNames } from '../shared/operator-config.ts'
import type { Environment } from './settings.ts'

/**
 * Loads a `config.yaml` and prints its model groups and every warning.
 * @throws {ConfigError} with what would stop the gateway's start.
 */
export function checkConfig(
  file: string,
  { environment, print }: { environment: Environment; print: (text: string) => void },
): void {
  const config = loadOperatorConfig(file, environment)
  for (const warning of config.warnings) print(`warning: ${warning}\n`)
  print(`${file} is good. Model groups: ${operatorModelNames(config).join(', ') || 'none'}\n`)
}
