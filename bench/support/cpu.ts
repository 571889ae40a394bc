import { readFileSync } from 'node:fs'

/** Linux counts processor time in hundredths of a second for every program (USER_HZ). */
const TICK_US = 10_000

/** Processor time spent between two moments, in microseconds. Null where the system has no /proc. */
export type CpuUse = { byProcess: Record<string, number>; others: number } | null

/**
 * Starts counting the processor time of processes, given by name and id; the result of the returned function has it,
 * ended children of theirs included, and what everything else on the machine used meanwhile.
 */
export function measureCpu(pids: Record<string, number>): () => CpuUse {
  const before = read(pids)
  return () => {
    const after = read(pids)
    if (!before || !after) return null
    const byProcess: Record<string, number> = {}
    let known = after.own - before.own
    for (const name of Object.keys(pids)) {
      const used = (after.byProcess[name] ?? 0) - (before.byProcess[name] ?? 0)
      byProcess[name] = used
      known += used
    }
    return { byProcess, others: Math.max(0, after.machine - before.machine - known) }
  }
}

function read(pids: Record<string, number>) {
  try {
    const entries = Object.entries(pids).map(([name, pid]) => [name, processUs(pid)] as const)
    return { byProcess: Object.fromEntries(entries), own: processUs(process.pid), machine: machineUs() }
  } catch {
    return null
  }
}

function processUs(pid: number): number {
  const text = readFileSync(`/proc/${pid}/stat`, 'utf8')
  // The second field, the program's name, may hold spaces; utime, stime, cutime, cstime are fields 14 to 17.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
  return fields.slice(11, 15).reduce((sum, ticks) => sum + Number(ticks), 0) * TICK_US
}

function machineUs(): number {
  const [line = ''] = readFileSync('/proc/stat', 'utf8').split('\n')
  const [user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0, steal = 0] = line
    .split(/\s+/)
    .slice(1)
    .map(Number)
  return (user + nice + system + irq + softirq + steal) * TICK_US
}
