-- Makes a new queue entry possible for a job of the window whose entry is gone: never enqueued because the process died in
-- between, or dropped with the worker that held it. The old entry, should it turn up, is stale.
-- KEYS: job, window
-- ARGV: now_ms ('' = Redis TIME), id, generation that was looked for, ms after which the new entry is looked for
-- Output: the new generation, or 0 when there is nothing to do (ended, claimed, or already fed anew)
local job, window, id = KEYS[1], KEYS[2], ARGV[2]
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local record = redis.call('HMGET', job, 'status', 'generation')
local status = record[1]
if status ~= 'queued' and status ~= 'in_progress' and status ~= 'cancelling' then
  redis.call('ZREM', window, id)
  return 0
end
local overdue_at = tonumber(redis.call('ZSCORE', window, id))
if record[2] ~= ARGV[3] or not overdue_at or overdue_at > now then return 0 end
-- A job whose worker was lost has no lease to respect: the claim of its new entry must not be told to wait.
redis.call('ZADD', window, status == 'queued' and now + tonumber(ARGV[4]) or now, id)
redis.call('HSET', job, 'entry', '')
return redis.call('HINCRBY', job, 'generation', 1)
