import { defineConfig } from 'vitest/config'
import { LongFirst } from './test/support/long-first.ts'
import { SummaryReporter } from './test/support/summary-reporter.ts'

export default defineConfig({
  test: {
    reporters: ['default', new SummaryReporter()],
    include: ['test/**/*.test.ts'],
    globalSetup: ['test/support/global-setup.ts'],
    testTimeout: 30_000,
    hookTimeout: 60_000,
    // Most files wait for processes and timers rather than compute: a few at once keep two cores busy.
    pool: 'forks',
    maxWorkers: 3,
    // No file leaves anything behind in its process: loading everything anew for each of them took a fifth of the time.
    isolate: false,
    sequence: { sequencer: LongFirst },
  },
})
