import type { FileStore } from './file-store.ts'

/** A file store in an S3-compatible bucket. */
export function openBucketStore(place: { bucket: string; prefix: string; hasEndpoint: boolean }): FileStore {
  throw new Error(`in the works: ${place.bucket}`)
}
