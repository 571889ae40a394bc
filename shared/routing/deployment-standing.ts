import type { Redis } from 'ioredis'
import type { Clock, Standing } from './deployment-state.ts'
import type { Keys } from '../keys.ts'
import type { PlanDeployment } from '../schemas/plan.ts'
import { createScript } from '../scripts.ts'

/** Reads how deployments of one owner stand, in one round trip, and changes nothing. */
export function createStandings(deps: { redis: Redis; keys: Keys; windowMs: number; now?: Clock }) {
  const { redis, keys, windowMs, now = () => '' } = deps
  const readStandings = createScript(redis, 'read-standings')
  return async function read(ownerId: string, deployments: readonly PlanDeployment[]): Promise<Standing[]> {
    if (deployments.length === 0) return []
    const stateKeys = deployments.flatMap(({ id, key_id }) => [
      keys.deployment(ownerId, id),
      keys.credentialPause(ownerId, key_id),
      keys.usageLog(ownerId, id),
      keys.flight(ownerId, id),
    ])
    const reply = (await readStandings(stateKeys, [now(), windowMs])) as Buffer[][] // decimal strings, see the script
    return deployments.map(({ id }, index) => {
      const figures = (reply[index] ?? []).map(Number)
      const [cooling = 0, paused = 0, rests = 0, requests = 0, input = 0, output = 0] = figures
      const [inFlight = 0, secondsPerToken = 0] = figures.slice(6)
      return {
        id,
        coolingUntil: cooling || null,
        pausedUntil: paused || null,
        restsUntil: rests || null,
        used: { requests, tokens: input + output, input_tokens: input, output_tokens: output },
        inFlight,
        secondsPerToken: secondsPerToken || null,
      }
    })
  }
}
