import { InvalidRequestError } from '../shared/errors.ts'
import type { CompletionBody, ResponseRequest } from '../shared/schemas/completion.ts'
import { waitForEnd } from '../shared/settled.ts'
import type { CallDeps } from './calls.ts'
import { withPrevious } from './response-input.ts'

const END_MS = 5_000

/**
 * What a provider is asked for a Response: the conversation so far is in it, and nothing of the background, which is ours.
 * @throws {InvalidRequestError}
 */
export async function prepareResponse(
  given: ResponseRequest,
  tenant: string,
  deps: CallDeps,
): Promise<{ body: CompletionBody; isBackground: boolean }> {
  const isBackground = given.background === true
  if (isBackground && given.store === false) {
    const message = '`background: true` needs `store`: the answer is fetched later. Leave `store` out.'
    throw new InvalidRequestError(message, 'store')
  }
  if (given.input === undefined && !given['prompt']) {
    throw new InvalidRequestError('`input` is required.', 'input', 'missing_required_parameter')
  }
  const { background: _background, ...body } = await withPrevious(given, tenant, deps)
  return { body, isBackground }
}

/** Waits until a job that was cancelled has ended, for a few seconds at most. */
export async function awaitEnd(
  { jobs, settled }: Pick<CallDeps, 'jobs' | 'settled'>,
  tenant: string,
  id: string,
): Promise<void> {
  const watch = settled.watch(id)
  try {
    await waitForEnd({ watch, read: () => jobs.read(tenant, id), waitMs: END_MS })
  } finally {
    watch.close()
  }
}
