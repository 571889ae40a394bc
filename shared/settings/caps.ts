/** Longest time one attempt may take, in seconds. */
export const TIMEOUT_S_MAX = 600
export const RETRIES_MAX = 10
/** Longest cooldown, in seconds. */
export const COOLDOWN_S_MAX = 3600

/** A checked timeout as a number. */
export function secondsOf(value: unknown): number | undefined {
  return value === undefined || value === null ? undefined : Number(value)
}
