-- Asks for a job's end. A running one becomes `cancelling` and its worker is told; one that no worker holds is left to the
-- caller, who settles it at once.
-- KEYS: job, window
-- ARGV: now_ms ('' = Redis TIME), id, channel
-- Output: 'gone' | 'ended' | 'free' (settle it) | 'cancelling' (its worker will)
local job, window, id = KEYS[1], KEYS[2], ARGV[2]
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local status = redis.call('HGET', job, 'status')
if not status then return 'gone' end
if status ~= 'queued' and status ~= 'in_progress' and status ~= 'cancelling' then return 'ended' end
if status == 'queued' or (tonumber(redis.call('ZSCORE', window, id)) or 0) <= now then return 'free' end
redis.call('HSET', job, 'status', 'cancelling')
redis.call('HSETNX', job, 'cancelling_at', now)
redis.call('PUBLISH', ARGV[3], id)
return 'cancelling'
