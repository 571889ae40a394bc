import type { CollectedMemory } from '../processes/collect-garbage.ts'
import { ask, type Child } from './children.ts'
import { project } from './gateway.ts'

/** What a process must be started with, so that its garbage can be collected. */
export const COLLECTABLE = ['--expose-gc', `--import=${project('bench/processes/collect-garbage.ts')}`]

/** Collects the garbage of a process and tells what is left in memory. */
export async function collectMemory(child: Child): Promise<CollectedMemory> {
  child.process.kill('SIGUSR2')
  return ask<CollectedMemory>(child, null, 60_000)
}
