import { randomBytes } from 'node:crypto'
import { S3 } from '@aws-sdk/client-s3'
import { startFauxqs } from 'fauxqs'

/**
 * An S3 server with one empty bucket: one in this process, or the one of `TEST_S3_ENDPOINT`. The caller closes it.
 * `env` is what AWS' SDK finds it by.
 */
export async function startBucket() {
  const given = process.env.TEST_S3_ENDPOINT
  const server = given === undefined ? await startFauxqs({ port: 0, host: '127.0.0.1', logger: false }) : null
  const env = {
    AWS_ENDPOINT_URL_S3: given ?? `http://127.0.0.1:${server?.port}`,
    AWS_REGION: 'us-east-1',
    AWS_ACCESS_KEY_ID: 'test-access-key',
    AWS_SECRET_ACCESS_KEY: 'test-secret-key',
  }
  const bucket = `test-${randomBytes(6).toString('hex')}`
  const s3 = new S3({
    endpoint: env.AWS_ENDPOINT_URL_S3,
    region: env.AWS_REGION,
    credentials: { accessKeyId: env.AWS_ACCESS_KEY_ID, secretAccessKey: env.AWS_SECRET_ACCESS_KEY },
    forcePathStyle: true,
  })
  await s3.createBucket({ Bucket: bucket })

  return {
    env,
    s3,
    bucket,
    place: `s3://${bucket}/some/prefix`,

    /** Everything in the bucket: key -> bytes. */
    async objects(): Promise<Map<string, Buffer>> {
      const { Contents = [] } = await s3.listObjectsV2({ Bucket: bucket })
      const read = async (Key: string) => {
        const { Body } = await s3.getObject({ Bucket: bucket, Key })
        return [Key, Buffer.from((await Body?.transformToByteArray()) ?? [])] as const
      }
      return new Map(await Promise.all(Contents.map(({ Key = '' }) => read(Key))))
    },

    async close() {
      s3.destroy()
      await server?.stop()
    },
  }
}

export type TestBucket = Awaited<ReturnType<typeof startBucket>>
