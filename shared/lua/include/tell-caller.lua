-- Tells the API process that holds the line for a job all that it would read of it: id and fields, each led by its length and one
-- in four bytes (zero: no value). What is large is left to be read: a message waits in Redis until its receiver has taken it.
local TOLD_BYTES_MAX = 65536

local function tell_caller(channel, id, job, names)
  if redis.call('HSTRLEN', job, 'out') > TOLD_BYTES_MAX then return end
  local fields = {}
  for name in string.gmatch(names, '%S+') do fields[#fields + 1] = name end
  local parts = { struct.pack('>Ic0', #id + 1, id) }
  for at, value in ipairs(redis.call('HMGET', job, unpack(fields))) do
    parts[at + 1] = value and struct.pack('>Ic0', #value + 1, value) or struct.pack('>I', 0)
  end
  redis.call('PUBLISH', channel, table.concat(parts))
end
