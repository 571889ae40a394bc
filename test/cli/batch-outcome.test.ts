import { describe, expect, test } from 'vitest'
import { describeEnd, exitCodeOf, linesOf } from '../../cli/batch-outcome.ts'
import { sampleBatch } from './sample-batch.ts'

describe('exit codes', () => {
  test('0 when every line completed', () => {
    expect(exitCodeOf(sampleBatch({ completed: 100 }, { status: 'completed' }))).toBe(0)
  })

  test('1 when lines failed, or the batch did', () => {
    expect(exitCodeOf(sampleBatch({ completed: 99, failed: 1 }, { status: 'completed' }))).toBe(1)
    expect(exitCodeOf(sampleBatch({ failed: 100 }, { status: 'completed' }))).toBe(1)
    expect(exitCodeOf(sampleBatch({}, { status: 'failed' }))).toBe(1)
    const counts = { total: 0, completed: 0, failed: 0 }
    expect(exitCodeOf(sampleBatch({}, { status: 'failed', request_counts: counts }))).toBe(1)
  })

  test('3 when it was cancelled or expired, whatever it had done', () => {
    expect(exitCodeOf(sampleBatch({ completed: 100 }, { status: 'cancelled' }))).toBe(3)
    expect(exitCodeOf(sampleBatch({ completed: 1, expired: 99 }, { status: 'expired' }))).toBe(3)
  })
})

describe('last words', () => {
  test('say what became of the lines, where the results are, and how to run the others again', () => {
    const progress = { completed: 90, failed: 4, expired: 6 }
    const ended = {
      status: 'expired',
      expired_at: 1_700_000_090,
      output_file_id: 'file-o',
      error_file_id: 'file-e',
    } as const
    expect(describeEnd(sampleBatch(progress, { ...ended, cost: 1.5 }))).toEqual([
      'batch_1 expired after 1m 30s: 90 of 100 lines completed, 4 failed, 6 expired, $1.50.',
      'Output: file-o',
      'Errors: file-e',
      'The lines that did not complete can be run again: byok-gateway batches retry batch_1',
    ])
  })

  test('show what was wrong with the input with line, param and code, and nothing in it can move the cursor', () => {
    const error = { line: 3, message: 'No \u001B[2Jmodel.', param: 'body.model', code: 'model_not_found' }
    const data = [error, { line: null, message: 'Nothing in it.', param: null, code: 'empty_file' }]
    const counts = { total: 0, completed: 0, failed: 0 }
    const errors = { object: 'list', data } as const
    expect(
      describeEnd(sampleBatch({}, { status: 'failed', request_counts: counts, errors })).slice(1),
    ).toEqual([
      '  line 3: No  [2Jmodel. (param body.model, code model_not_found)',
      '  Nothing in it. (code empty_file)',
    ])
  })

  test('the parts of the results have all lines of an ended batch', () => {
    const batch = sampleBatch({ completed: 90, failed: 4, expired: 6 }, { status: 'expired' })
    expect([linesOf(batch, 'output'), linesOf(batch, 'error')]).toEqual([90, 10])
  })
})
