import { CONNECTION_FIELDS, PROVIDER_SECRETS } from '../schemas/field-names.ts'

/** Names whose misspelling would silently send a secret to a provider or drop a setting. */
const MEANT: ReadonlyMap<string, string> = new Map([
  ...[
    ...CONNECTION_FIELDS,
    ...PROVIDER_SECRETS,
    'user_config',
    'credential',
    'num_retries',
    'max_fallbacks',
    'disable_fallbacks',
    'fallbacks',
    'custom_llm_provider',
    'mock_response',
    'extra_headers',
  ].map((name) => [bareName(name), name] as [string, string]),
  ['userconfigs', 'user_config'],
  ...['credentials', 'credentialid', 'storedcredential'].map(
    (name) => [name, 'credential'] as [string, string],
  ),
  ['routerconfig', 'user_config'],
  ['modellist', 'user_config'],
  ['litellmparams', 'user_config'],
  ['fallback', 'fallbacks'],
  ...['accesstoken', 'apitoken', 'authtoken', 'bearertoken', 'hftoken', 'secretkey', 'apisecret'].map(
    (name) => [name, 'api_key'] as [string, string],
  ),
  // As environment variables and other libraries have them.
  ...['awsaccesskey', 'awskeyid', 'awskey'].map((name) => [name, 'aws_access_key_id'] as [string, string]),
  ...['awssecretkey', 'awssecret', 'secretaccesskey'].map(
    (name) => [name, 'aws_secret_access_key'] as [string, string],
  ),
  ...['awstoken', 'awssecuritytoken', 'sessiontoken'].map(
    (name) => [name, 'aws_session_token'] as [string, string],
  ),
  ['awsbearertokenbedrock', 'api_key'],
  ['awsregion', 'aws_region_name'],
  ['azuretenantid', 'tenant_id'],
  ['azureclientid', 'client_id'],
  ['azureclientsecret', 'client_secret'],
  ...['vertexaicredential', 'vertexcredential', 'googlecredentials', 'googleapplicationcredentials'].map(
    (name) => [name, 'vertex_credentials'] as [string, string],
  ),
  ...['serviceaccount', 'serviceaccountjson', 'serviceaccountkey', 'privatekey'].map(
    (name) => [name, 'vertex_credentials'] as [string, string],
  ),
  ...['apiendpoint', 'apiurl', 'azureendpoint'].map((name) => [name, 'api_base'] as [string, string]),
])

/** A key or a base by whatever name a provider's SDK or environment has for it. */
const MEANT_BY_PART: readonly (readonly [RegExp, string])[] = [
  [/apikey|authorization/, 'api_key'],
  [/apibase$|baseurl$/, 'api_base'],
  [/adtoken$/, 'azure_ad_token'],
]

/**
 * The field of ours that an unknown one most likely stands for, or null: a credential under another name or spelling
 * must not go to a provider as one of its parameters.
 */
export function nearMissOf(key: string): string | null {
  const bare = bareName(key)
  return MEANT.get(bare) ?? MEANT_BY_PART.find(([part]) => part.test(bare))?.[1] ?? null
}

/** What is left of a name without case, separators, accents, wide letters and what can't be seen. */
function bareName(name: string): string {
  return name
    .normalize('NFKD')
    .toLowerCase()
    .replaceAll(/[^a-z0-9]/g, '')
}
