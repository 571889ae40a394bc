import { BaseSequencer, type TestSpecification } from 'vitest/node'

/** Rooms whose tests start processes and wait for them, longest first. */
const ROOMS = ['/test/e2e/', '/test/cli/', '/test/worker/', '/test/api/', '/test/shared/']

/** Starts the files that take long first: one that is begun last leaves all but one core with nothing to do. */
export class LongFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    // oxlint-disable-next-line unicorn/no-array-sort -- vitest's own method
    const sorted = await super.sort(files)
    // Stable: within a room they stay as vitest has them, larger files before smaller ones.
    return sorted.toSorted((a, b) => roomOf(a) - roomOf(b))
  }
}

function roomOf({ moduleId }: TestSpecification): number {
  return ROOMS.findIndex((room) => moduleId.includes(room))
}
