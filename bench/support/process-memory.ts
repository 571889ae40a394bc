import { readFileSync } from 'node:fs'

/** Megabytes of a process that are in memory, now and at most so far. NaN where the system has no /proc. */
export type ProcessMemory = { nowMb: number; mostMb: number }

/** Reads what each of these processes, by name and id, has in memory. */
export function memoryOf(pids: Record<string, number>): Record<string, ProcessMemory> {
  return Object.fromEntries(Object.entries(pids).map(([name, pid]) => [name, read(pid)]))
}

function read(pid: number): ProcessMemory {
  const text = statusOf(pid)
  const field = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(text)?.[1]) / 1024
  return { nowMb: field('VmRSS'), mostMb: field('VmHWM') }
}

function statusOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/status`, 'utf8')
  } catch {
    return ''
  }
}

/** One line: each process with what it has now, and at most so far. */
export function describeMemory(memory: Record<string, ProcessMemory>): string {
  return Object.entries(memory)
    .map(([name, { nowMb, mostMb }]) => `${name} ${nowMb.toFixed(0)} (${mostMb.toFixed(0)})`)
    .join(', ')
}
