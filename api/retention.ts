import type { FastifyRequest } from 'fastify'
import type { KeptAtMost } from '../shared/batches/batch-record.ts'

/** A time in milliseconds, or less when its tenant keeps things for fewer seconds. @param ms null: for ever. */
export function keptAtMostMs(ms: number, seconds: number | null | undefined): number
export function keptAtMostMs(ms: number | null, seconds: number | null | undefined): number | null
export function keptAtMostMs(ms: number | null, seconds: number | null | undefined): number | null {
  if (seconds === null || seconds === undefined) return ms
  return Math.min(ms ?? Infinity, seconds * 1000)
}

/** How long the tenant that calls keeps batches and files; undefined: as the gateway does. */
export function batchKeptAtMost({ principal }: FastifyRequest): KeptAtMost | undefined {
  const { batches_seconds: batchS = null, files_seconds: filesS = null } = principal.record?.retention ?? {}
  return batchS === null && filesS === null ? undefined : { batchS, filesS }
}
