-- Notes, before the provider is called, that a call is about to be made: whatever dies after this, it stays known.
-- KEYS: job, leases
-- ARGV: now_ms ('' = Redis TIME), id, token, lease ms, then field, value, ... to write
-- Output: 'started' | 'fenced' (another claim took the job, or it ended) | 'cancelling'
local job, leases = KEYS[1], KEYS[2]
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local record = redis.call('HMGET', job, 'status', 'token')
if record[2] ~= ARGV[3] then return 'fenced' end
if record[1] == 'cancelling' then return 'cancelling' end
if record[1] ~= 'in_progress' then return 'fenced' end
redis.call('HSET', job, unpack(ARGV, 5))
redis.call('ZADD', leases, now + tonumber(ARGV[4]), ARGV[2])
return 'started'
