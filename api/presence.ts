import { finished } from 'node:stream'
import type { FastifyReply } from 'fastify'
import type { Redis } from 'ioredis'
import { createAttended } from '../shared/jobs/attended.ts'
import type { JobInput, Jobs, JobView } from '../shared/jobs/jobs.ts'
import type { Keys } from '../shared/keys.ts'
import { createScript } from '../shared/scripts.ts'

/** Answers that went out are noted together, this often: only a call that comes again in between would find an old one. */
const FORGET_EVERY_MS = 100
const RENEWALS = 3

/** Somebody at the other end of the line. */
export type Caller = {
  /** What is sent to him from here on is the end of his job: when all of it has gone out, he won't ask again. */
  noteAnswer: () => void
}

/**
 * Knows whether those whose calls made jobs are still there. One who leaves without his answer may ask again and finds his job:
 * until then it goes on, or is cancelled at once where the operator wants that.
 *
 * @param deps.leftMs how long a job goes on that nobody waits for.
 */
export function createPresence(deps: {
  redis: Redis
  keys: Keys
  jobs: Pick<Jobs, 'cancel'>
  cancelsWhenLeft: boolean
  leftMs: number
}) {
  const { keys, jobs, cancelsWhenLeft, leftMs } = deps
  const attended = createAttended(deps)
  const forgetCalls = createScript(deps.redis, 'forget-calls')
  const callers = new Map<string, number>()
  /** Jobs that may outlive their callers; whether Redis knows that somebody waits for them. */
  const lasting = new Map<string, boolean>()
  let answered: { list: string; id: string }[] = []
  let forgetting: NodeJS.Timeout | null = null
  const renewing = setInterval(() => void renew(), leftMs / RENEWALS)

  /** Notes that a call waits for a job, which it has made or found again. */
  function enter(reply: FastifyReply, input: JobInput, id: string): Caller {
    const isSync = input.mode === 'sync'
    let isToForget = !isSync
    callers.set(id, (callers.get(id) ?? 0) + 1)
    if (isSync && input.delayMs + input.expiresInMs > leftMs && !lasting.has(id)) {
      lasting.set(id, false)
      void renew()
    }
    finished(reply.raw, (error) => {
      const isLast = leave(id)
      if (error) {
        if (isSync && isLast && cancelsWhenLeft) void cancel(input.tenant, id)
      } else if (isToForget && input.sameCall) forget(input.sameCall.fingerprint, id)
    })
    return {
      noteAnswer() {
        isToForget = true
      },
    }
  }

  function leave(id: string): boolean {
    const others = (callers.get(id) ?? 1) - 1
    if (others > 0) callers.set(id, others)
    else {
      callers.delete(id)
      lasting.delete(id)
    }
    return others === 0
  }

  // With Redis away the job goes on to its deadline, as by default.
  async function cancel(tenant: string, id: string): Promise<void> {
    await jobs.cancel(tenant, id).catch(() => undefined)
  }

  /** In the background: nobody waits for that, and what is not noted is forgotten in time. */
  function forget(fingerprint: string, id: string): void {
    answered.push({ list: keys.orphans(fingerprint), id })
    forgetting ??= setTimeout(() => void flush(), FORGET_EVERY_MS)
  }

  async function flush(): Promise<void> {
    if (forgetting) clearTimeout(forgetting)
    const gone = answered
    forgetting = null
    answered = []
    if (gone.length === 0) return
    const lists = gone.map(({ list }) => list)
    await forgetCalls(
      lists,
      gone.map(({ id }) => id),
    ).catch(() => undefined)
  }

  async function renew(): Promise<void> {
    const fresh = [...lasting].filter(([, isNoted]) => !isNoted).map(([id]) => id)
    const known = [...lasting].filter(([, isNoted]) => isNoted).map(([id]) => id)
    try {
      await attended.note(fresh, leftMs, true)
      for (const id of fresh) if (lasting.has(id)) lasting.set(id, true)
      await attended.note(known, leftMs, false)
    } catch {
      // Redis is away: it is told next time.
    }
  }

  return {
    enter,
    /** A job that its owner looks at by its id is no longer its call's alone: it goes on to its deadline. */
    adopt({ mode, isTerminal, job }: JobView): void {
      const isLasting = (job.expires_at - job.created_at) * 1000 > leftMs
      if (mode === 'sync' && !isTerminal && isLasting) void attended.drop(job.id).catch(() => undefined)
    },
    async close(): Promise<void> {
      clearInterval(renewing)
      await flush()
    },
  }
}

export type Presence = ReturnType<typeof createPresence>
