import type { LanguageModelV4, LanguageModelV4CallOptions, SharedV4ProviderOptions } from '@ai-sdk/provider'
import type { Fields } from './fields.ts'
import type { Warnings } from './warnings.ts'

/** What a family makes of a body besides what all take; each of its settings wins over the common one. */
export type FamilySettings = Partial<LanguageModelV4CallOptions> & {
  providerOptions: SharedV4ProviderOptions
}

/** A family of providers whose wire form is a package's: what it can be told, and how. */
export type ModelFamily = {
  /** As warnings call it. */
  title: string
  /** Body fields that only it has a word for. */
  fields: readonly string[]
  /**
   * Its own words for a request.
   * @param common What the request says in words that all have.
   * @throws {RequestFault}
   */
  settings: (body: Fields, common: LanguageModelV4CallOptions, warnings: Warnings) => FamilySettings
  /** As what type a file is named by its address; null: it must be fetched. `mediaType` is null when nothing tells it. */
  urlType: (url: URL, mediaType: string | null) => string | null
}

/** One model at one place with one bundle's credential. */
export type ModelTarget = {
  family: ModelFamily
  /** Builds the package's model; it must never be left to look for a credential itself. */
  model: (fetch: typeof globalThis.fetch) => LanguageModelV4
  /** The headers with the secret, which nothing can replace; null: the package signs with it. */
  credential: Record<string, string> | null
  /** Secrets besides the bundle's own that an answer may echo. */
  secrets: readonly string[]
}
