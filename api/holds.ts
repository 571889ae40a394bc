import type { FastifyReply } from 'fastify'

/** A call that is kept waiting. `signal` aborts when its client leaves or the process stops. */
export type Hold = { signal: AbortSignal; release: () => void }

/** Knows the calls that are kept waiting for a job, so that a stopping process can answer them all at once. */
export function createHolds() {
  const open = new Set<AbortController>()
  let isStopping = false
  return {
    /** Notes a waiting call; it must be released when it is answered. */
    hold(reply: FastifyReply): Hold {
      const controller = new AbortController()
      if (isStopping) controller.abort()
      const onClose = (): void => controller.abort()
      reply.raw.once('close', onClose)
      open.add(controller)
      return {
        signal: controller.signal,
        release() {
          reply.raw.off('close', onClose)
          open.delete(controller)
        },
      }
    },

    isStopping: () => isStopping,

    /** Ends every wait, now and from now on: the calls answer with what there is. */
    endAll(): void {
      isStopping = true
      for (const controller of open) controller.abort()
    },
  }
}

export type Holds = ReturnType<typeof createHolds>
