import { readFileSync } from 'node:fs'
import { BaseSequencer, type TestSpecification } from 'vitest/node'

/** Rooms whose tests start processes and wait for them, longest first. */
const ROOMS = ['/test/e2e/', '/test/cli/', '/test/worker/', '/test/api/', '/test/shared/']

/** A file whose tests share a gateway with those of others. */
const SHARES_GATEWAY = /^useGateway\((?:\)|\{ answer)/m

/**
 * Starts the files that take long first: one that is begun last leaves all but one core with nothing to do. Those that
 * share gateways come one after the other, before all others: these gateways then end.
 */
export class LongFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    // oxlint-disable-next-line unicorn/no-array-sort -- vitest's own method
    const sorted = await super.sort(files)
    // Stable: within a room they stay as vitest has them, larger files before smaller ones.
    const rooms = new Map(sorted.map((file) => [file, roomOf(file)]))
    return sorted.toSorted((a, b) => (rooms.get(a) ?? 0) - (rooms.get(b) ?? 0))
  }
}

function roomOf({ moduleId }: TestSpecification): number {
  if (SHARES_GATEWAY.test(readFileSync(moduleId, 'utf8'))) return -2
  return ROOMS.findIndex((room) => moduleId.includes(room))
}
