-- Turns the announcement of an ended job into a delivery, once: who comes second finds no announcement and does nothing.
-- The job's own copy of its webhook is erased in the same step.
-- KEYS: delivery, due, announce, job
-- ARGV: now_ms ('' = Redis TIME), job id, delivery id ('' = this end is not wanted), ms until the first try,
--       ms after which the sweeper looks for it, then field, value, ... to write
-- Output: 'created' | 'dropped' | 'announced'
local delivery, due, announce, job = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local jobId, id, wait, look = ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
if redis.call('ZREM', announce, jobId) == 0 then return 'announced' end
redis.call('HDEL', job, 'hook')
if id == '' then return 'dropped' end
redis.call('HSET', delivery, 'state', 'pending', 'attempts', 0, 'created', now, 'due', now + wait, unpack(ARGV, 6))
redis.call('ZADD', due, now + look, id)
return 'created'
