import { InvalidRequestError } from '../shared/errors.ts'
import type { CompletionBody, ResponseRequest } from '../shared/schemas/completion.ts'
import type { CallDeps } from './calls.ts'
import { withPrevious } from './response-input.ts'

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
