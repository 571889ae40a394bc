import type { FileStore } from './file-store.ts'

/** A file store in a folder of this machine, or one that is mounted on all of them. */
export function openFolderStore(folder: string): FileStore {
  throw new Error(`in the works: ${folder}`)
}
