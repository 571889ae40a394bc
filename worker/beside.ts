/**
 * Lets a chore of the sweeper's that waits for the file store go on beside the others, one at a time: jobs wait for those, and no
 * store may hold them up. What went wrong is thrown at the next time.
 */
export function beside(chore: () => Promise<void>): () => Promise<void> {
  let isRunning = false
  let failures: unknown[] = []
  return async () => {
    if (isRunning) return
    isRunning = true
    const [failure] = failures
    failures = []
    void chore()
      .catch((error: unknown) => failures.push(error))
      .finally(() => (isRunning = false))
    if (failure !== undefined) throw failure
  }
}
