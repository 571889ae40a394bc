import { ConfigError } from '../shared/errors.ts'

const SECONDS: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3_600, d: 86_400 }

/**
 * Seconds of a time such as `30d`, `12h`, `15m`, `90s`; a bare number is seconds.
 * @throws {ConfigError} with the name of what it was given for.
 */
export function readDuration(text: string, name: string): number {
  const [, count, unit = 's'] = /^(\d{1,9})([smhd])?$/.exec(text) ?? []
  if (count !== undefined) return Number(count) * (SECONDS[unit] ?? 1)
  throw new ConfigError(`${name} is a number and s, m, h or d, as in 30d.`)
}
