import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'

/**
 * Binds each process, with its threads, to one processor, in turn: what one costs is then not blurred by its moving about.
 * @returns one line that says who is where, or why nobody is.
 */
export function pin(pids: Record<string, number>): string {
  const cores = allowedCores()
  if (cores.length < 2) return 'not pinned: the system tells of no second processor'
  const placed: string[] = []
  for (const [at, [name, pid]] of Object.entries(pids).entries()) {
    const core = cores[at % cores.length] ?? 0
    const { status } = spawnSync('taskset', ['--all-tasks', '--cpu-list', '--pid', String(core), String(pid)])
    if (status !== 0) return 'not pinned: no taskset here'
    placed.push(`${name} on ${core}`)
  }
  return `pinned: ${placed.join(', ')}`
}

/** From a list like `0-3,6`. */
function allowedCores(): number[] {
  const list = /^Cpus_allowed_list:\s+(\S+)/m.exec(readStatus())?.[1] ?? ''
  return list.split(',').flatMap((range) => {
    const [from = Number.NaN, to = from] = range.split('-').map(Number)
    return Number.isNaN(from) ? [] : Array.from({ length: to - from + 1 }, (_, at) => from + at)
  })
}

function readStatus(): string {
  try {
    return readFileSync('/proc/self/status', 'utf8')
  } catch {
    return ''
  }
}
