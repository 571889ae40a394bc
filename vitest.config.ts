import { defineConfig } from 'vitest/config'
import { LongFirst } from './test/support/long-first.ts'
import { SummaryReporter } from './test/support/summary-reporter.ts'

export default defineConfig({
  test: {
    reporters: ['default', new SummaryReporter()],
    include: ['test/**/*.test.ts'],
    globalSetup: ['test/support/global-setup.ts'],
    setupFiles: ['test/support/same-cases.ts'],
    // Nothing fails for having waited: a test that can't pass says so by what it waits for, well before this.
    testTimeout: 300_000,
    hookTimeout: 300_000,
    // Most files wait for processes and timers rather than compute: a few at once keep two cores busy.
    pool: 'forks',
    maxWorkers: 4,
    // No file leaves anything behind in its process: loading everything anew for each of them took a fifth of the time.
    isolate: false,
    sequence: { sequencer: LongFirst },
  },
})
