-- Forgets ended jobs whose retention is over: the record, and its place in the tenant's index.
-- KEYS: expiring
-- ARGV: now_ms ('' = Redis TIME), jobs at most, prefix of records, prefix of indexes
-- Output: jobs forgotten
local expiring, job_prefix, index_prefix = KEYS[1], ARGV[3], ARGV[4]
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local due = redis.call('ZRANGEBYSCORE', expiring, '-inf', now, 'LIMIT', 0, tonumber(ARGV[2]))
for _, id in ipairs(due) do
  local tenant = redis.call('HGET', job_prefix .. id, 'tenant')
  if tenant then redis.call('ZREM', index_prefix .. tenant, id) end
  redis.call('UNLINK', job_prefix .. id)
  redis.call('ZREM', expiring, id)
end
return #due
