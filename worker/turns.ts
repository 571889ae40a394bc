/**
 * Shares out so many turns a second among all who take one; what nobody took is not saved up.
 * @returns a function that takes the next turn and gives the milliseconds until then.
 */
export function createTurns(perSecond: number, now = () => performance.now()): () => number {
  let freeAtMs = 0
  return () => {
    const nowMs = now()
    const turnMs = Math.max(nowMs, freeAtMs)
    freeAtMs = turnMs + 1000 / perSecond
    return turnMs - nowMs
  }
}
