import { defineConfig } from 'vitest/config'
import { LongFirst } from './test/support/long-first.ts'
import { SummaryReporter } from './test/support/summary-reporter.ts'

// As `eventually` has it; where tests are to fail, as with mutants, it is short.
const patienceMs = Number(process.env['TEST_PATIENCE_MS'] ?? 120_000)

export default defineConfig({
  test: {
    reporters: ['default', new SummaryReporter()],
    include: ['test/**/*.test.ts'],
    globalSetup: ['test/support/global-setup.ts'],
    setupFiles: ['test/support/same-cases.ts'],
    // Nothing fails for having waited: a test that can't pass says so by what it waits for, well before this.
    testTimeout: 2.5 * patienceMs,
    hookTimeout: 2.5 * patienceMs,
    // Most files wait for processes and timers rather than compute: a few at once keep two cores busy.
    pool: 'forks',
    maxWorkers: 4,
    // What tests make is soon let go of: with more room for what is young it is moved less, a twentieth of a test process's work.
    execArgv: ['--max-semi-space-size=32'],
    // No file leaves anything behind in its process: loading everything anew for each of them took a fifth of the time.
    isolate: false,
    sequence: { sequencer: LongFirst },
  },
})
