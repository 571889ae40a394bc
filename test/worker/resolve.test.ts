import { createSocket } from 'node:dgram'
import { afterEach, expect, test } from 'vitest'
import { createResolver } from '../../worker/resolve.ts'

const closers: (() => void)[] = []
afterEach(() => {
  for (const close of closers.splice(0)) close()
})

const A = 1

/** A name server: `answers` gives the IPv4 addresses of a name, or null to stay silent. */
async function serveNames(answers: (name: string) => string[] | null) {
  const questions: string[] = []
  const socket = createSocket('udp4')
  socket.on('message', (query, from) => {
    const { name, type, end } = readQuestion(query)
    if (type === A) questions.push(name)
    const addresses = answers(name)
    if (addresses === null) return
    const records = type === A ? addresses : []
    const head = Buffer.from([
      0x81,
      addresses.length === 0 ? 0x83 : 0x80,
      0,
      1,
      0,
      records.length,
      0,
      0,
      0,
      0,
    ])
    const body = records.map((address) =>
      Buffer.from([0xc0, 0x0c, 0, A, 0, 1, 0, 0, 0, 60, 0, 4, ...address.split('.').map(Number)]),
    )
    socket.send(Buffer.concat([query.subarray(0, 2), head, query.subarray(12, end), ...body]), from.port)
  })
  await new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', resolve))
  closers.push(() => socket.close())
  return { questions, servers: [`127.0.0.1:${socket.address().port}`] }
}

function readQuestion(query: Buffer) {
  const labels: string[] = []
  let at = 12
  for (let length = query.readUInt8(at); length > 0; length = query.readUInt8(at)) {
    labels.push(query.subarray(at + 1, at + 1 + length).toString())
    at += length + 1
  }
  return { name: labels.join('.'), type: query.readUInt16BE(at + 1), end: at + 5 }
}

test('all addresses of a name come back, and many askers share one question', async () => {
  const { questions, servers } = await serveNames(() => ['192.0.2.1', '192.0.2.2'])
  const resolve = createResolver({ servers })
  const answers = await Promise.all(Array.from({ length: 50 }, () => resolve('many.example')))
  answers.push(await resolve('many.example'))
  for (const answer of answers) expect(answer.toSorted()).toEqual(['192.0.2.1', '192.0.2.2'])
  expect(questions).toEqual(['many.example'])
})

test('stalling name servers, however many, hold up nobody else', async () => {
  const { servers } = await serveNames((name) => (name.startsWith('tarpit') ? null : ['192.0.2.1']))
  const resolve = createResolver({ servers, queryTimeoutMs: 2_000 })
  const stalled = Array.from({ length: 40 }, (_, n) => resolve(`tarpit-${n}.example`).catch(String))
  const first = await Promise.race([...stalled, resolve('quick.example')])
  expect(first).toEqual(['192.0.2.1'])
  // They end by timeout and are not handed to the system's resolver, which would stall a thread each.
  for (const failure of await Promise.all(stalled)) expect(failure).toContain('ETIMEOUT')
})

test('a name that does not exist is an error, and is asked for again the next time', async () => {
  let known: string[] = []
  const { servers } = await serveNames(() => known)
  const resolve = createResolver({ servers })
  await expect(resolve('late.invalid')).rejects.toThrow()
  known = ['192.0.2.7']
  expect(await resolve('late.invalid')).toEqual(['192.0.2.7'])
})
