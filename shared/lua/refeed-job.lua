-- Makes a new queue entry possible for a job that is in the window but whose entry is gone: never enqueued because the
-- process died in between, or dropped with the worker that held it. The old entry, should it turn up, is stale.
-- KEYS: job, fed, leases
-- ARGV: now_ms ('' = Redis TIME), id, generation that was looked for
-- Output: the new generation, or 0 when there is nothing to do (ended, claimed, or already fed anew)
local job, fed, leases, id = KEYS[1], KEYS[2], KEYS[3], ARGV[2]
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local record = redis.call('HMGET', job, 'status', 'generation')
local status = record[1]
if status ~= 'queued' and status ~= 'in_progress' and status ~= 'cancelling' then
  redis.call('ZREM', fed, id)
  redis.call('ZREM', leases, id)
  return 0
end
if record[2] ~= ARGV[3] then return 0 end
local lease = tonumber(redis.call('ZSCORE', leases, id))
if lease and lease > now then return 0 end
if not lease and not redis.call('ZSCORE', fed, id) then return 0 end
redis.call('ZADD', fed, now, id)
return redis.call('HINCRBY', job, 'generation', 1)
