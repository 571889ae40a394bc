/**
 * Loaded before a process of ours (`node --import`): on SIGUSR2 it tells, as a line of its own, the longest turn of its
 * event loop since it was last asked, in milliseconds of its main thread's own processor time. What other processes
 * take of a busy machine is not in it.
 */
let longestMs = 0
let lastMs = cpuMs()

setInterval(() => {
  const nowMs = cpuMs()
  longestMs = Math.max(longestMs, nowMs - lastMs)
  lastMs = nowMs
}, 1).unref()

process.on('SIGUSR2', () => {
  process.stdout.write(`{"longest_turn_ms":${longestMs.toFixed(1)}}\n`)
  longestMs = 0
})

function cpuMs(): number {
  const { user, system } = process.threadCpuUsage()
  return (user + system) / 1000
}
