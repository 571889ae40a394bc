/**
 * A response is known by the id of its job, or of its line of a batch, in another dress, whichever provider answers it: one that is
 * not answered yet has an id already, and a fallback's answer has the same.
 */
export function responseIdOf(jobId: string): string {
  return jobId.replace(/^(job|batch_req)_/, 'resp_')
}

/** The id of a response's job, if it is one of ours; whose it is must be checked as for any job. */
export function jobIdOfResponse(responseId: string): string {
  return responseId.replace(/^resp_/, 'job_')
}
