import type { FastifyReply } from 'fastify'
import { toBatch } from '../shared/batches/batch-object.ts'
import type { Batches, CreateBatchResult } from '../shared/batches/batches.ts'
import { IdempotencyMismatchError, InvalidRequestError } from '../shared/errors.ts'
import type { Ids } from '../shared/ids.ts'
import { storeOnce } from './acceptance.ts'
import { refusalError } from './admission.ts'
import { missingBatch } from './batch-replies.ts'
import type { BatchDraft } from './batch-requests.ts'
import { createInputFile, type InputFileDeps } from './input-files.ts'
import { traceSubmit } from './plugins/tracing.ts'
import { tellRequestsLeft } from './rate-limit-headers.ts'

export type BatchAcceptanceDeps = InputFileDeps & { batches: Pick<Batches, 'create' | 'read'>; ids: Ids }

/** Stores a batch over a file, or over lines that are made a file first, and answers with it as it stands. */
export async function acceptBatch(
  reply: FastifyReply,
  draft: BatchDraft,
  input: { fileId: string } | { lines: AsyncIterable<Uint8Array> },
  deps: BatchAcceptanceDeps,
): Promise<FastifyReply> {
  const { tenant } = draft
  const result = 'fileId' in input ? await overFile(input.fileId) : await overLines(input.lines)
  if (draft.admission) tellRequestsLeft(reply, draft.admission, result)
  if (!('id' in result)) throw refusalOf(result)
  if (result.kind === 'replayed') void reply.header('idempotent-replayed', 'true')
  const view = await deps.batches.read(tenant, result.id)
  if (!view) throw missingBatch(deps.ids, tenant, result.id)
  return reply.send(toBatch(view))

  function overFile(inputFileId: string): Promise<CreateBatchResult> {
    return traceSubmit(reply.request, 'batch', draft, (traced) =>
      storeOnce('batch', traced, () => deps.batches.create({ ...traced, inputFileId })),
    )
  }

  async function overLines(lines: AsyncIterable<Uint8Array>): Promise<CreateBatchResult> {
    const filename = `${draft.id}_input.jsonl`
    const { id } = await createInputFile(deps, {
      tenant,
      filename,
      lines,
      filesS: draft.keptAtMost?.filesS,
    })
    let isUsed = false
    try {
      const stored = await overFile(id)
      isUsed = stored.kind === 'created'
      return stored
    } finally {
      // A batch that was stored after all keeps its file: it is in use. What can't be removed now goes when it expires.
      if (!isUsed) await deps.files.remove(tenant, id).catch(() => {})
    }
  }
}

function refusalOf(result: Exclude<CreateBatchResult, { id: string }>): Error {
  if (result.kind === 'mismatch') return new IdempotencyMismatchError()
  if (result.kind === 'refused') return refusalError(result.refusal)
  const [code, message] = FILE_REFUSALS[result.kind]
  return new InvalidRequestError(message, 'input_file_id', code)
}

const FILE_REFUSALS = {
  no_file: ['file_not_found', 'No such file, or it has expired: upload it again.'],
  wrong_purpose: [
    'invalid_file_purpose',
    'The input of a batch is a file that was uploaded with the purpose "batch".',
  ],
  credentials_erased: [
    'credentials_required',
    'The credentials in the lines of this file were for one batch, and are erased: upload it again.',
  ],
} as const
