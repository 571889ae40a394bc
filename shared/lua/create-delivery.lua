-- Turns the announcement of an ended job or batch into a delivery, once: who comes second finds no announcement and does
-- nothing. The record's own copy of its webhook is erased in the same step. News of what goes on have no announcement:
-- their delivery is made unless it is there.
-- KEYS: delivery, due, announce, record of the job or batch
-- ARGV: now_ms ('' = Redis TIME), announced id ('' = news), delivery id ('' = this end is not wanted), ms until the first try,
--       ms after which the sweeper looks for it, then field, value, ... to write
-- Output: 'created' | 'dropped' | 'announced'
local delivery, due, announce, record = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local announced, id, wait, look = ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
if announced == '' then
  if redis.call('EXISTS', delivery) == 1 then return 'announced' end
else
  if redis.call('ZREM', announce, announced) == 0 then return 'announced' end
  redis.call('HDEL', record, 'hook')
end
if id == '' then return 'dropped' end
redis.call('HSET', delivery, 'state', 'pending', 'attempts', 0, 'created', now, 'due', now + wait, unpack(ARGV, 6))
redis.call('ZADD', due, now + look, id)
return 'created'
