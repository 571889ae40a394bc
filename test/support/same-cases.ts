import fc from 'fast-check'

/** Tests with random cases have the same ones in each run, so that none fails by chance; `TEST_SEED=123 npm test` has others. */
fc.configureGlobal({ seed: Number(process.env['TEST_SEED'] ?? 7) })
