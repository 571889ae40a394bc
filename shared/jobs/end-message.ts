/**
 * Reads the message that `settle-job.lua` sends to who holds the line for a job: its id, and the values of its fields.
 * Each is led by its length and one in four bytes, big-endian; zero stands for no value.
 */
export function readEndMessage(message: Buffer): (Buffer | null)[] {
  const values: (Buffer | null)[] = []
  let at = 0
  while (at + 4 <= message.length) {
    const length = message.readUInt32BE(at) - 1
    at += 4
    values.push(length < 0 ? null : message.subarray(at, at + length))
    at += Math.max(0, length)
  }
  return values
}
