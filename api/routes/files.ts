import { Readable } from 'node:stream'
import multipart from '@fastify/multipart'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { ZodTypeProvider } from 'fastify-type-provider-zod'
import { z } from 'zod'
import {
  FileInUseError,
  InvalidRequestError,
  NotFoundError,
  UnsatisfiableRangeError,
} from '../../shared/errors.ts'
import { readFileContent } from '../../shared/batches/file-content.ts'
import type { FileView } from '../../shared/files/files.ts'
import { ErrorResponse } from '../../shared/schemas/error.ts'
import {
  DeletedFile,
  File,
  FileList,
  FileListQuery,
  UPLOAD_PURPOSES,
  UploadForm,
} from '../../shared/schemas/file.ts'
import { readRange } from '../byte-range.ts'
import { createUploadTurns, receiveFile, type UploadDeps } from '../uploads.ts'

const FileParams = z.object({ id: z.string() })
const errors = { '4xx': ErrorResponse, '5xx': ErrorResponse }
const bytes = { content: { 'application/octet-stream': { schema: z.unknown() } } }
const tags = ['files']

/** `/files`: OpenAI's Files. Registers a parser of multipart bodies: give it a scope of its own. */
export async function addFileRoutes(app: FastifyInstance, deps: UploadDeps): Promise<void> {
  const { files, ids } = deps
  const turns = createUploadTurns()
  await app.register(multipart)
  const routes = app.withTypeProvider<ZodTypeProvider>()

  const uploadSchema = {
    summary: 'Upload a file',
    description: `As multipart/form-data: \`file\`, \`purpose\` (${UPLOAD_PURPOSES.join(', ')}), and \`expires_after[anchor]\` with \`expires_after[seconds]\` if wished. Credentials in the lines of a batch's input are stored apart from it.`,
    tags,
    consumes: ['multipart/form-data'],
    body: UploadForm,
    response: { 200: File, ...errors },
  }
  // Described, not validated: its fields are read as they come.
  const upload = { schema: uploadSchema, config: { isUpload: true }, validatorCompiler: () => () => true }
  routes.post('/files', upload, async (request) => toFile(await receiveFile(request, { ...deps, turns })))

  const listSchema = {
    summary: 'List files, newest first',
    tags,
    querystring: FileListQuery,
    response: { 200: FileList, ...errors },
  }
  routes.get('/files', { schema: listSchema }, async (request) => {
    const page = await files.list(request.tenant, request.query)
    if (!page) throw new InvalidRequestError('`after` is no id of a file that can still be listed.', 'after')
    const data = page.files.map(toFile)
    return {
      object: 'list' as const,
      data,
      first_id: data[0]?.id ?? null,
      last_id: page.goOnFrom ?? data.at(-1)?.id ?? null,
      has_more: page.hasMore,
    }
  })

  const readSchema = {
    summary: 'Read what a file is',
    tags,
    params: FileParams,
    response: { 200: File, ...errors },
  }
  routes.get('/files/:id', { schema: readSchema }, async (request) => toFile(await readFile(request)))

  const deleteSchema = {
    summary: 'Delete a file',
    description: 'A file that an unfinished batch reads is kept: 409.',
    tags,
    params: FileParams,
    response: { 200: DeletedFile, ...errors },
  }
  routes.delete('/files/:id', { schema: deleteSchema }, async (request) => {
    const { id } = await readFile(request)
    const removed = await files.remove(request.tenant, id)
    if (removed === 'in_use') throw new FileInUseError()
    if (removed === 'gone') throw new NotFoundError('file')
    return { id, object: 'file' as const, deleted: true as const }
  })

  const contentSchema = {
    summary: "Read a file's content",
    description:
      "As it was uploaded; in the input of a batch `[erased]` stands for each line's credentials. One range of bytes may be asked for.",
    tags,
    params: FileParams,
    response: { 200: bytes, 206: bytes, ...errors },
  }
  const content = { schema: contentSchema, exposeHeadRoute: false }
  routes.get('/files/:id/content', content, async (request, reply) => {
    const { file, range } = await prepareContent(request, reply)
    return reply.send(Readable.from(readFileContent(deps, file, range)))
  })
  routes.head(
    '/files/:id/content',
    { schema: { params: FileParams, hide: true } },
    async (request, reply) => {
      await prepareContent(request, reply)
      return reply.send()
    },
  )

  async function prepareContent(request: FastifyRequest<{ Params: { id: string } }>, reply: FastifyReply) {
    const file = await readFile(request)
    // A file never changes: its id says what its bytes are.
    const etag = `"${file.id}"`
    const ifRange = request.headers['if-range']
    const asked = ifRange === undefined || ifRange === etag ? request.headers.range : undefined
    const range = readRange(asked, file.bytes)
    void reply.headers({ 'accept-ranges': 'bytes', etag })
    if (range.kind === 'unsatisfiable') {
      void reply.header('content-range', `bytes */${file.bytes}`)
      throw new UnsatisfiableRangeError(file.bytes)
    }
    const { from, to } = range.kind === 'part' ? range : { from: 0, to: file.bytes }
    if (range.kind === 'part') {
      void reply.code(206).header('content-range', `bytes ${from}-${to - 1}/${file.bytes}`)
    }
    void reply.headers({
      'content-type': 'application/octet-stream',
      'content-length': String(to - from),
      'content-disposition': `attachment; filename*=UTF-8''${encodeName(file.filename)}`,
      // A browser that shows it must not run it.
      'x-content-type-options': 'nosniff',
    })
    return { file, range: { from, to } }
  }

  async function readFile(request: FastifyRequest<{ Params: { id: string } }>): Promise<FileView> {
    const { tenant, params } = request
    // Only our own ids are made into keys of Redis.
    const view = ids.isOwnFileId(tenant, params.id) ? await files.read(tenant, params.id) : null
    if (!view) throw new NotFoundError('file')
    return view
  }
}

function toFile(view: FileView): File {
  return {
    id: view.id,
    object: 'file',
    bytes: view.bytes,
    created_at: Math.floor(view.createdMs / 1000),
    expires_at: view.expiresMs === null ? null : Math.floor(view.expiresMs / 1000),
    filename: view.filename,
    purpose: view.purpose,
    status: 'processed',
    status_details: null,
  }
}

// As RFC 8187 has it: encodeURIComponent leaves some characters that are not to stand there.
function encodeName(name: string): string {
  const escaped = encodeURIComponent(name.toWellFormed())
  return escaped.replaceAll(/['()*]/g, (character) => `%${character.charCodeAt(0).toString(16)}`)
}
